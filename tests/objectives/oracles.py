"""Every objective written as explicit loops over plain floats, and random batches to try it on.

A list is what one row of one view holds, padding left out: `Seen` per candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, permutations, product
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bvrank.objectives.irpo import IRPO
from bvrank.records import Preferences


@dataclass(frozen=True)
class Seen:
    """One candidate: its log-ratio to the reference, and its labels."""

    place: int  # along axis K
    policy: float
    ratio: float
    relevance: float
    rank: int
    length: int
    answer: int
    draw: float


def random_prefs(seed: int, *, views: int = 1, rows: int = 6, width: int = 5, levels: int = 3,
                 least: int = 0) -> Preferences:  # fmt: skip
    """Ragged lists with padding anywhere. Log-ratios lie on a grid, so that some tie exactly."""
    make = torch.Generator().manual_seed(seed)
    shape = (views, rows, width)
    order = torch.rand(shape, generator=make).argsort(-1)
    size = torch.randint(least, width + 1, (views, rows, 1), generator=make)
    grid = torch.randint(-4, 5, shape, generator=make).double() / 2
    reference = -torch.randint(1, 20, shape, generator=make).double()
    return Preferences(
        policy=reference + grid,
        reference=reference,
        relevance=torch.randint(0, levels, shape, generator=make).float(),
        rank=torch.rand(shape, generator=make).argsort(-1).argsort(-1) + 1,
        length=torch.randint(1, 5, shape, generator=make),
        valid=order < size,
        answer=order,
        draw=torch.rand(shape, generator=make, dtype=torch.float64),
    )


def lists(relevance: Sequence[float], scores: Sequence[float] | None = None) -> Preferences:
    """One row of one view; the reference is 0 and every candidate one token."""
    y = torch.tensor([[relevance]], dtype=torch.float32)
    s = torch.tensor([[scores or [0.0] * len(relevance)]], dtype=torch.float64)
    rank = torch.arange(1, len(relevance) + 1).expand(y.shape)
    return Preferences(
        s, torch.zeros_like(s), y, rank, torch.ones_like(rank), y > -1, rank, torch.zeros_like(s)
    )


def pick(prefs: Preferences, index: Tensor) -> Preferences:
    """The candidates at `index` along axis K, for every field alike."""
    return Preferences(**{f.name: getattr(prefs, f.name)[..., index] for f in fields(prefs)})


def padded(prefs: Preferences, extra: int, fill: float) -> Preferences:
    """`extra` more places per list, invalid, with `fill` where a log-prob or a label would be (7
    where a whole number stands and `fill` is none)."""
    parts = {}
    for f in fields(prefs):
        value = getattr(prefs, f.name)
        worth = fill if value.is_floating_point() or math.isfinite(fill) else 7
        more = value.new_full((*value.shape[:-1], extra), 0 if f.name == "valid" else worth)
        parts[f.name] = torch.cat([value, more], -1)
    return Preferences(**parts)


def graded(objective: Any, prefs: Preferences) -> tuple[Tensor, Tensor]:
    """Loss [V,B] and the gradient of its sum with respect to the policy [V,B,K]."""
    policy = prefs.policy.clone().requires_grad_()
    loss = objective(replace(prefs, policy=policy)).loss
    return loss.detach(), torch.autograd.grad(loss.sum(), policy)[0]


def checked(objective: Any, prefs: Preferences) -> bool:
    """The gradient against finite differences, in fp64."""
    policy = prefs.policy.clone().requires_grad_()
    return torch.autograd.gradcheck(
        lambda p: objective(replace(prefs, policy=p)).loss, (policy,), atol=1e-7, rtol=1e-5
    )


def seen(prefs: Preferences, v: int, b: int) -> list[Seen]:
    """The valid candidates of one list."""
    return [
        Seen(
            k,
            float(prefs.policy[v, b, k]),
            float(prefs.policy[v, b, k]) - float(prefs.reference[v, b, k]),
            float(prefs.relevance[v, b, k]),
            int(prefs.rank[v, b, k]),
            int(prefs.length[v, b, k]),
            int(prefs.answer[v, b, k]),
            float(prefs.draw[v, b, k]),
        )
        for k in range(prefs.valid.shape[-1])
        if prefs.valid[v, b, k]
    ]


def each(prefs: Preferences, loss: Any) -> Tensor:
    """`loss(list)` of every list, [V,B]."""
    views, rows, _ = prefs.valid.shape
    return torch.tensor(
        [[float(loss(seen(prefs, v, b))) for b in range(rows)] for v in range(views)],
        dtype=torch.float64,
    )


def log_sigma(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def pairs_of(items: list[Seen], pairs: str) -> list[tuple[Seen, Seen]]:
    """The pairs (better, worse) that train; `random` is not for oracles."""
    found = [(w, x) for w in items for x in items if w.relevance > x.relevance]
    if pairs == "best_worst" and found:
        best = max(items, key=lambda i: (i.relevance, -i.place))
        worst = min(items, key=lambda i: (i.relevance, i.place))
        found = [(best, worst)]
    return found


def dpo(items: list[Seen], beta: float, smoothing: float, pairs: str) -> float:
    """The mean over the pairs that train."""
    found = pairs_of(items, pairs)
    total = 0.0
    for w, x in found:
        gap = beta * (w.ratio - x.ratio)
        total -= (1 - smoothing) * log_sigma(gap) + smoothing * log_sigma(-gap)
    return total / len(found) if found else 0.0


def sft(items: list[Seen]) -> float:
    return -max(items, key=lambda i: (i.relevance, -i.place)).policy if items else 0.0


def irpo(items: list[Seen], o: IRPO) -> float:
    s = [o.beta * (i.ratio / i.length if o.reduce == "mean" else i.ratio) for i in items]
    y = [i.relevance for i in items]
    keys = {"ideal": y, "shown": [-float(i.rank) for i in items], "model": s}
    w = weights(y, keys[o.ranks], o.weight, o.ties, o.k, o.decay)
    ideal = sum(weights(y, y, o.weight, o.ties, o.k, o.decay))
    if o.normalize and ideal > 0:
        w = [x / ideal for x in w]
    return sum(w[i] * anchor(s, i, o.form) for i in range(len(s)))


def anchor(s: list[float], i: int, form: str) -> float:
    """Item i's loss, from the definitions of objectives rather than through p_i."""
    n = len(s)
    if form == "softmax":
        return -math.log(math.exp(s[i]) / sum(math.exp(x) for x in s))
    if form == "paper":
        return -log_sigma(-math.log(sum(math.exp(x - s[i]) for x in s)))
    if n == 1:
        return 0.0
    rivals = [math.exp(s[j] - s[i]) for j in range(n) if j != i]
    return -log_sigma(-math.log(sum(rivals) / (n - 1))) / n


def weights(y: list[float], key: list[float], weight: str, ties: str, k: int, decay: float
            ) -> list[float]:  # fmt: skip
    """w by candidate. `averaged`: over every order in which equal keys can stand."""
    orders = [sorted(range(len(y)), key=lambda i: -key[i])]
    if ties == "averaged":
        groups = [[i for i in orders[0] if key[i] == x] for x in sorted(set(key), reverse=True)]
        orders = [list(chain(*way)) for way in product(*map(permutations, groups))]
    table = [_ordered(y, order, weight, k, decay) for order in orders]
    return [fmean(row[i] for row in table) for i in range(len(y))]


def _ordered(y: list[float], order: list[int], weight: str, k: int, decay: float) -> list[float]:
    w = [0.0] * len(y)
    found, total = 0, sum(x >= 1 for x in y)
    for place, i in enumerate(order, 1):
        found += y[i] >= 1
        w[i] = {
            "dcg": (2 ** y[i] - 1) / math.log2(1 + place),
            "p_at_k": float(y[i] >= 1 and place <= k),
            "map": (y[i] >= 1) * found / place / max(total, 1),
            "mrr": (y[i] >= 1 and found == 1) / place,
            "edcg": (2 ** y[i] - 1) * math.exp(-decay * (place - 1)),
            "no_relevance": any(x > 0 for x in y) / math.log2(1 + place),
            "reciprocal": (2 ** y[i] - 1) / place,
        }[weight]
    return w
