"""What the preference losses share: fields, views, the pairwise and the listwise form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bvrank.errors import ConfigError
from bvrank.objectives import kernels
from bvrank.objectives.gains import Ranks, Ties, Weight, rank_weights
from bvrank.records import FULL, Outcome, Preferences


@dataclass(frozen=True)
class Preference:
    """A loss over the candidates of one view.

    s = beta [log pi - log pi_ref] scores a candidate; `sft_weight` adds that many times the
    per-token NLL of the better side, averaged over examples (0: none). ConfigError when a field is
    out of range.
    """

    beta: float = 0.1
    view: kernels.View = "full"
    sft_weight: float = 0.0

    needs_reference: ClassVar[bool] = True
    candidates: ClassVar[int] = 2
    averaged: ClassVar[bool] = False  # whether scores are means over tokens

    def __post_init__(self) -> None:
        kernels.check_choices(self)
        kernels.in_range("beta", self.beta, 0.0, open_low=True)
        kernels.in_range("sft_weight", self.sft_weight, 0.0)

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def per_token(self) -> bool:
        """Whether scores are of means over tokens, not of sums."""
        return self.averaged

    def scores(self, prefs: Preferences) -> Tensor:
        """s [V,B,K], 0 on padding."""
        return self.beta * kernels.log_ratio(prefs)

    def tie(self, prefs: Preferences) -> Tensor:
        """Scores [V,B,1] that are nearer than this are level."""
        return self.beta * kernels.rounding(prefs, per_token=self.per_token)

    def _outcome(self, prefs: Preferences, scores: Tensor, loss: Tensor, counts: Tensor,
                 better: Tensor, pairs: Tensor) -> Outcome:  # fmt: skip
        """`loss` [V,B] where `counts` [V,B]; `better` [V,B,K] are the shares of the better side and
        `pairs` [V,B,K,K] the weights of the pairs that metrics speak of."""
        metrics = kernels.pair_metrics(prefs, scores, pairs, self.tie(prefs))
        if not self.needs_reference:  # nothing to have moved from
            metrics = {n: m for n, m in metrics.items() if not n.startswith("displacement/")}
        if self.sft_weight > 0:
            nll = kernels.nll_per_token(prefs, better)
            loss, metrics = loss + self.sft_weight * nll, metrics | {"nll": nll.detach()}
        return Outcome(torch.where(counts, loss, 0.0), counts.double(), metrics=metrics)


@dataclass(frozen=True)
class Pairwise(Preference):
    """A loss of one better against one worse candidate; `pairs` says which pairs of a list train.

    A row without two candidates of different relevance counts 0.
    """

    pairs: kernels.Pairs = "best_worst"

    @property
    def every_trace(self) -> bool:
        """Whether all traces of an answer are in the loss, and not the first alone."""
        return self.pairs == "whole_list"

    @property
    def one_pair(self) -> bool:
        """Whether a row's first best and first worst candidate are all that is read of it. Of a
        class of somebody else's that is not known."""
        ours = type(self).__module__.startswith("bvrank.objectives.")
        return ours and self.pairs == "best_worst" and type(self).__call__ is Pairwise.__call__

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        """The loss of every pair, from scores that broadcast to [V,B,K,K]."""
        raise NotImplementedError

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B]: the mean over a row's pairs."""
        scores = self.scores(prefs)
        weights = kernels.pair_weights(prefs, self.pairs)  # [V,B,K,K]
        losses = self.loss(scores.unsqueeze(-1), scores.unsqueeze(-2))
        counts = weights.sum((-2, -1)) > 0
        mean = kernels.pair_mean(losses, weights)
        return self._outcome(prefs, scores, mean, counts, weights.sum(-1), weights)


@dataclass(frozen=True)
class Listwise(Preference):
    """A loss over a whole list of graded relevance; `reduce`: an item's log-ratio is the sum over
    its tokens, or their mean. A list that holds nothing to prefer counts 0."""

    beta: float = 1.0
    reduce: Literal["sum", "mean"] = "sum"

    @property
    def per_token(self) -> bool:
        return self.reduce == "mean"

    def scores(self, prefs: Preferences) -> Tensor:
        return self.beta * kernels.log_ratio(prefs, per_token=self.per_token)

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        """The loss [V,B] of every list, finite also where nothing counts."""
        raise NotImplementedError

    def counts(self, prefs: Preferences) -> Tensor:
        """bool [V,B]: a candidate is better than another. Does not depend on the policy."""
        return kernels.pair_weights(prefs, "whole_list").sum((-2, -1)) > 0

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B]."""
        scores = self.scores(prefs)  # [V,B,K]
        best = kernels.shares_of_best(prefs.relevance, prefs.valid)
        pairs = kernels.pair_weights(prefs, "whole_list")
        loss, counts = self.loss(prefs, scores), self.counts(prefs)
        outcome = self._outcome(prefs, scores, loss, counts, best, pairs)
        top = kernels.shares_of_best(kernels.settled(scores, self.tie(prefs)), prefs.valid)
        hit = (top * (best > 0)).sum(-1)  # where several lead, the share of the best among them
        return Outcome(
            outcome.loss, outcome.count, metrics={**outcome.metrics, "rewards/top1": hit}
        )


@dataclass(frozen=True)
class Weighted(Listwise):
    """A listwise loss with rank weights w(i) = gain(relevance_i) * discount(rank_i).

    `weight` is one of gains.WEIGHTS, with `k` for p_at_k and `decay` for edcg; `ranks`: ideal (by
    relevance) | shown | model (by current s); `ties` averaged | order. A list with nothing relevant
    counts 0, as one of a single item does.
    """

    weight: Weight = "dcg"
    ranks: Ranks = "ideal"
    ties: Ties = "averaged"
    k: int = 3
    decay: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        kernels.in_range("k", self.k, 1)
        kernels.in_range("decay", self.decay, 0.0)

    def weights(self, prefs: Preferences, scores: Tensor) -> Tensor:
        """w [V,B,K], 0 on padding."""
        keys = {"shown": -prefs.rank.double(), "model": kernels.settled(scores, self.tie(prefs))}
        return self._by(keys.get(self.ranks, prefs.relevance.double()), prefs)

    def ideal(self, prefs: Preferences) -> Tensor:
        """What a perfect order earns [V,B]: the ideal sum of weights (IDCG)."""
        return self._by(prefs.relevance.double(), prefs).sum(-1)

    def counts(self, prefs: Preferences) -> Tensor:
        return (self.ideal(prefs) > 0) & (prefs.valid.sum(-1) > 1)

    def _by(self, key: Tensor, prefs: Preferences) -> Tensor:
        relevance = prefs.relevance.double()
        return rank_weights(relevance, key, prefs.valid, self.weight, self.ties, self.k, self.decay)


class Mixed:
    """What an objective has of the one inside of it, `loss`."""

    loss: Any

    @property
    def candidates(self) -> int | None:
        return self.loss.candidates  # type: ignore[no-any-return]

    @property
    def needs_reference(self) -> bool:
        return bool(self.loss.needs_reference)


def check_mixed(loss: Any, beta: float | None, bare_beta: float | None) -> None:
    """ConfigError unless `loss` is an objective of one view that takes these betas (None: its own)
    in both views of a mix."""
    kind = type(loss).__name__
    if not hasattr(loss, "view") or not callable(loss):
        raise ConfigError(f"must be an objective of one view, got {kind}", where="loss",
                          repair="For instance objective@objective.loss=simpo.")  # fmt: skip
    if loss.view != FULL:
        raise ConfigError("the mix reads both views", where="loss.view", repair="Leave it out.")
    for name, value in (("beta", beta), ("bare_beta", bare_beta)):
        if value is None:
            continue
        if not hasattr(loss, "beta"):
            raise ConfigError(f"{kind} has no beta", where=name, repair=f"Set {name}=null.")
        kernels.in_range(name, value, 0.0, open_low=True)


def check_share(alpha: float | str, loss: Any) -> None:
    """ConfigError unless alpha is a share, or is `auto` and has a meaning for a mix of `loss`: the
    loss of one trace that becomes another one where traces are summed out."""
    if not isinstance(alpha, str):
        kernels.in_range("alpha", alpha, 0.0, 1.0)
        return
    one_trace = isinstance(loss, Pairwise) and not getattr(loss, "wants_traces", False)
    if not one_trace or loss.per_token or not loss.needs_reference:
        raise ConfigError(
            f"auto has no meaning for {type(loss).__name__}: it wants a pairwise loss of the "
            "log-ratio of one trace", where="alpha",
            repair="Set a number, or objective@objective.loss=dpo (robust, hinge, apo_zero, "
            "apo_down).",
        )  # fmt: skip
