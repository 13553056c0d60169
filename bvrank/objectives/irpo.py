"""In-context ranking preference optimisation, arXiv 2504.15477: a listwise DPO.

With p the softmax of s = beta [log pi - log pi_ref] over the list, item i at rank i pays
w_i * log(1 + 1/p_i) (`paper`). The official code leaves the item itself out of the sum and averages
over the n - 1 rivals and the n items (`official`); `softmax` is -log p_i, S-DPO per anchor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.objectives import kernels
from bvrank.objectives.gains import Ranks, Ties, Weight, ideal_ranks, rank_weights
from bvrank.records import Outcome, Preferences


@dataclass(frozen=True)
class IRPO:
    """L = sum_i w(i) * anchor loss, w(i) = gain(relevance_i) * discount(rank_i).

    `form` paper | official | softmax; `weight` one of gains.WEIGHTS, with `k` for p_at_k and
    `decay` for edcg; `ranks` ideal (by relevance) | shown | model (by current s); `ties` averaged |
    order; `normalize` divides by the ideal sum of weights (IDCG); `reduce`: sum or mean over an
    item's tokens.
    """

    beta: float = 1.0
    form: Literal["paper", "official", "softmax"] = "paper"
    weight: Weight = "dcg"
    ranks: Ranks = "ideal"
    ties: Ties = "averaged"
    normalize: bool = False
    reduce: Literal["sum", "mean"] = "sum"
    k: int = 3
    decay: float = 0.5
    view: Literal["full", "bare"] = "full"

    def __post_init__(self) -> None:
        kernels.check_choices(self)
        kernels.in_range("beta", self.beta, 0.0, open_low=True)
        kernels.in_range("k", self.k, 1)
        kernels.in_range("decay", self.decay, 0.0)

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def candidates(self) -> int:
        return 2

    @property
    def needs_reference(self) -> bool:
        return True

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B]. A list whose weights are all zero (nothing relevant) counts 0."""
        scores = self.beta * kernels.log_ratio(prefs, per_token=self.reduce == "mean")  # [V,B,K]
        ideal = ideal_ranks(prefs.relevance.double(), prefs.valid)
        best_total = self._weights(prefs, ideal).sum(-1)  # [V,B], what a perfect order earns
        keys = {"ideal": ideal, "shown": -prefs.rank.double(), "model": scores.detach()}
        weights = self._weights(prefs, keys[self.ranks])  # [V,B,K]
        if self.normalize:
            weights = weights / best_total.where(best_total > 0, 1.0).unsqueeze(-1)
        losses = torch.where(prefs.valid, self._anchor_losses(scores, prefs.valid), 0.0)
        pairs = kernels.pair_weights(prefs, "whole_list")
        top = torch.where(prefs.valid, scores.detach(), -torch.inf).argmax(-1, keepdim=True)
        best = torch.where(prefs.valid, prefs.relevance, -torch.inf).amax(-1)
        hit = (prefs.relevance.gather(-1, top).squeeze(-1) == best).double()
        return Outcome(
            loss=(weights * losses).sum(-1),
            count=(best_total > 0).double(),
            metrics={**kernels.pair_metrics(prefs, scores, pairs), "rewards/top1": hit},
        )

    def _weights(self, prefs: Preferences, key: Tensor) -> Tensor:
        """w [V,B,K] when candidates are ranked by falling `key`."""
        relevance = prefs.relevance.double()
        return rank_weights(relevance, key, prefs.valid, self.weight, self.ties, self.k, self.decay)

    def _anchor_losses(self, scores: Tensor, valid: Tensor) -> Tensor:
        """The per-anchor loss [V,B,K] of each form."""
        log_p = kernels.log_softmax(scores, valid)
        if self.form == "paper":
            return -logsigmoid(log_p)
        if self.form == "softmax":
            return -log_p
        n = valid.sum(-1, keepdim=True).double()
        rivals = kernels.logsumexp_of_others(scores, valid) - (n - 1).clamp(min=1).log()
        return -logsigmoid(torch.where(valid, scores - rivals, 0.0)) / n.clamp(min=1)
