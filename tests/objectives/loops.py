"""The losses over pairs and lists as their papers print them, in loops over plain floats; one case
of every objective, which the shared laws run through.

A loss here is that of a list that counts; `Case.count` says which do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bvrank.objectives.apo_down import APODown
from bvrank.objectives.apo_zero import APOZero
from bvrank.objectives.approx_ndcg import ApproxNDCG
from bvrank.objectives.base import Listwise, Pairwise, Preference, Weighted
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.hinge import Hinge
from bvrank.objectives.ipo import IPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.lipo import LiPO
from bvrank.objectives.listmle import ListMLE
from bvrank.objectives.listnet import ListNet
from bvrank.objectives.marginal import Marginal
from bvrank.objectives.orpo import ORPO
from bvrank.objectives.robust import Robust
from bvrank.objectives.sdpo import SDPO
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO
from bvrank.records import Preferences
from tests.objectives import oracles
from tests.objectives.oracles import Seen, log_sigma, pairs_of, random_prefs, weights

Items = list[Seen]
Loss = Callable[[Items, Any], float]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def over_pairs(items: Items, o: Any, loss: Callable[[Seen, Seen], float]) -> float:
    """The mean of `loss(better, worse)` over the pairs that train, and the NLL of their better
    sides."""
    pairs = pairs_of(items, o.pairs)
    return fmean(loss(w, x) - o.sft_weight * w.policy / w.length for w, x in pairs)


def dpo(items: Items, o: DPO) -> float:
    e = o.label_smoothing

    def loss(w: Seen, x: Seen) -> float:
        gap = o.beta * (w.ratio - x.ratio)
        return -(1 - e) * math.log(sigma(gap)) - e * math.log(sigma(-gap))

    return over_pairs(items, o, loss)


def robust(items: Items, o: Robust) -> float:
    e = o.label_smoothing

    def loss(w: Seen, x: Seen) -> float:
        gap = o.beta * (w.ratio - x.ratio)
        return (-(1 - e) * math.log(sigma(gap)) + e * math.log(sigma(-gap))) / (1 - 2 * e)

    return over_pairs(items, o, loss)


def ipo(items: Items, o: IPO) -> float:
    def loss(w: Seen, x: Seen) -> float:
        return (w.ratio / w.length - x.ratio / x.length - 1 / (2 * o.beta)) ** 2

    return over_pairs(items, o, loss)


def hinge(items: Items, o: Hinge) -> float:
    return over_pairs(items, o, lambda w, x: max(0.0, 1 - o.beta * (w.ratio - x.ratio)))


def apo_zero(items: Items, o: APOZero) -> float:
    return over_pairs(items, o, lambda w, x: 1 - sigma(o.beta * w.ratio) + sigma(o.beta * x.ratio))


def apo_down(items: Items, o: APODown) -> float:
    def loss(w: Seen, x: Seen) -> float:
        return sigma(o.beta * w.ratio) + 1 - sigma(o.beta * (w.ratio - x.ratio))

    return over_pairs(items, o, loss)


def simpo(items: Items, o: SimPO) -> float:
    def loss(w: Seen, x: Seen) -> float:
        return -log_sigma(o.beta / w.length * w.policy - o.beta / x.length * x.policy - o.gamma)

    return over_pairs(items, o, loss)


def orpo(items: Items, o: ORPO) -> float:
    def odds(i: Seen) -> float:
        p = math.exp(i.policy / i.length)
        return p / (1 - p)

    return over_pairs(items, o, lambda w, x: -o.beta * log_sigma(math.log(odds(w) / odds(x))))


def answers(items: Items) -> Items:
    """One item per answer: the log of the mean over its traces of pi / pi_ref, the rest a mean."""
    found = []
    for name in dict.fromkeys(i.answer for i in items):
        traces = [i for i in items if i.answer == name]
        ratio = math.log(fmean(math.exp(i.ratio) for i in traces))
        reference = fmean(i.policy - i.ratio for i in traces)
        found.append(replace(
            traces[0], policy=reference + ratio, ratio=ratio,
            relevance=fmean(i.relevance for i in traces),
            length=round(fmean(i.length for i in traces)),
        ))  # fmt: skip
    return found


def marginal(items: Items, o: Marginal) -> float:
    return dpo(answers(items), o)


def scores(items: Items, o: Any) -> list[float]:
    return [o.beta * i.ratio / (i.length if o.reduce == "mean" else 1) for i in items]


def best_nll(items: Items, o: Any) -> float:
    """The weighted NLL of the best, the mean over those that tie."""
    top = max(i.relevance for i in items)
    return o.sft_weight * fmean(-i.policy / i.length for i in items if i.relevance == top)


def sdpo(items: Items, o: SDPO) -> float:
    s, top = scores(items, o), max(i.relevance for i in items)
    best = [x for x, i in zip(s, items, strict=True) if i.relevance == top]
    worse = [x for x, i in zip(s, items, strict=True) if i.relevance < top]
    losses = [math.log(1 + sum(math.exp(x - w) for x in worse)) for w in best]
    return fmean(losses) + best_nll(items, o)


def listmle(items: Items, o: ListMLE) -> float:
    """Minus the log of the chance to draw the items, without replacement, in label order."""
    s = dict(zip((i.place for i in items), scores(items, o), strict=True))
    left = sorted(items, key=lambda i: (-i.relevance, i.draw))
    chance = 1.0
    while left:
        chance *= math.exp(s[left[0].place]) / sum(math.exp(s[i.place]) for i in left)
        left = left[1:]
    return -math.log(chance) + best_nll(items, o)


def listnet(items: Items, o: ListNet) -> float:
    s, y = scores(items, o), [i.relevance for i in items]
    keys = {"ideal": y, "shown": [-float(i.rank) for i in items], "model": s}
    w = weights(y, keys[o.ranks], o.weight, o.ties, o.k, o.decay)
    whole = sum(math.exp(x) for x in s)
    losses = (-a / sum(w) * math.log(math.exp(x) / whole) for a, x in zip(w, s, strict=True))
    return (sum(losses) if sum(w) else 0.0) + best_nll(items, o)


def lipo(items: Items, o: LiPO) -> float:
    s = scores(items, o)
    order = sorted(range(len(s)), key=lambda i: (-round(s[i], 9), items[i].draw))
    tau = {i: place for place, i in enumerate(order, 1)}
    total = 0.0
    for i, a in enumerate(items):
        for j, b in enumerate(items):
            if a.relevance > b.relevance:
                gain = 2**a.relevance - 2**b.relevance
                swap = abs(1 / math.log(1 + tau[i]) - 1 / math.log(1 + tau[j]))
                total += gain * swap * math.log(1 + math.exp(s[j] - s[i]))
    return total + best_nll(items, o)


def approx_ndcg(items: Items, o: ApproxNDCG) -> float:
    s, y = scores(items, o), [i.relevance for i in items]
    ideal = sum((2**g - 1) / math.log2(1 + r) for r, g in enumerate(sorted(y, reverse=True), 1))
    total = 0.0
    for i, x in enumerate(s):
        rank = 1 + sum(sigma(-o.steepness * (x - z)) for j, z in enumerate(s) if j != i)
        total += (2 ** y[i] - 1) / math.log2(1 + rank)
    return -total / ideal + best_nll(items, o)


def irpo(items: Items, o: IRPO) -> float:
    return oracles.irpo(items, o) + best_nll(items, o)


def unequal(items: Items) -> float:
    """1 where one candidate is better than another."""
    return float(len({i.relevance for i in items}) > 1)


def unequal_answers(items: Items) -> float:
    return unequal(answers(items))


def relevant(items: Items) -> float:
    """1 where one of several candidates is relevant."""
    return float(len(items) > 1 and any(i.relevance > 0 for i in items))


def tokens(items: Items) -> float:
    return float(max(items, key=lambda i: (i.relevance, -i.place)).length if items else 0)


@dataclass(frozen=True)
class Case:
    """An objective, its loss of a list that counts, what a list counts, its views' shares."""

    objective: Any
    loss: Loss
    count: Callable[[Items], float] = unequal
    shares: tuple[float, ...] = (1.0,)

    def prefs(self, seed: int, **shape: int) -> Preferences:
        """Ragged lists in as many views, up to two traces to an answer, log-probs below 0."""
        found = random_prefs(seed, views=len(self.shares), **{"rows": 12} | shape)
        return replace(found, policy=found.policy - 2, reference=found.reference - 2,
                       answer=found.rank // 2)  # fmt: skip

    def by_loops(self, prefs: Preferences) -> tuple[Tensor, Tensor]:
        """Loss and count [V,B] of `prefs`."""
        counts = oracles.each(prefs, self.count)
        losses = oracles.each(
            prefs, lambda items: self.loss(items, self.objective) if self.count(items) else 0.0
        )
        return losses * torch.tensor(self.shares, dtype=torch.float64)[:, None], counts


CASES: dict[str, Case] = {
    "sft": Case(SFT(), lambda items, o: oracles.sft(items), tokens),
    "dpo": Case(DPO(0.7, sft_weight=0.3, label_smoothing=0.1), dpo),
    "robust": Case(Robust(0.7, sft_weight=0.3, label_smoothing=0.2), robust),
    "ipo": Case(IPO(0.4, sft_weight=0.3), ipo),
    "hinge": Case(Hinge(0.7, sft_weight=0.3), hinge),
    "apo_zero": Case(APOZero(0.7, sft_weight=0.3), apo_zero),
    "apo_down": Case(APODown(0.7, sft_weight=0.3), apo_down),
    "simpo": Case(SimPO(1.7, sft_weight=0.3, gamma=0.6), simpo),
    "orpo": Case(ORPO(0.7, sft_weight=0.3), orpo),
    "marginal": Case(Marginal(0.7, sft_weight=0.3, label_smoothing=0.1), marginal, unequal_answers),
    "bvpo": Case(
        BVPO(0.3, loss=DPO(0.7, sft_weight=0.2)),
        lambda items, o: dpo(items, o.loss),
        shares=(0.3, 0.7),
    ),
    "sdpo": Case(SDPO(0.7, sft_weight=0.3), sdpo),
    "listmle": Case(ListMLE(0.7, sft_weight=0.3), listmle),
    "listnet": Case(ListNet(0.7, sft_weight=0.3), listnet, relevant),
    "lipo": Case(LiPO(0.7, sft_weight=0.3), lipo),
    "approx_ndcg": Case(ApproxNDCG(0.7, sft_weight=0.3, steepness=2.0), approx_ndcg),
    "irpo": Case(IRPO(0.7, sft_weight=0.3), irpo, relevant),
}


def variants(objective: Any) -> list[Any]:
    """The objective, and with the other values of what its kind lets choose."""
    more: list[dict[str, Any]] = []
    if isinstance(objective, Pairwise):
        more = [{"pairs": "whole_list"}]
    elif isinstance(objective, Listwise):
        more = [{"reduce": "mean"}]
    if isinstance(objective, Weighted):
        more += [{"ranks": r, "weight": w} for r, w in (("shown", "mrr"), ("model", "edcg"))]
    return [objective, *(replace(objective, **m) for m in more)]


def bare(objective: Any) -> Any:
    """Without the NLL beside the loss."""
    if isinstance(objective, BVPO):
        return replace(objective, loss=bare(objective.loss))
    return replace(objective, sft_weight=0.0) if isinstance(objective, Preference) else objective
