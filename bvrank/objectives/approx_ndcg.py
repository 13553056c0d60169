"""ApproxNDCG on DPO's rewards: NDCG with sigmoids in place of ranks. Qin, Liu and Li, 2010."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Listwise
from bvrank.objectives.gains import gain_of, rank_weights
from bvrank.records import Preferences


@dataclass(frozen=True)
class ApproxNDCG(Listwise):
    """-sum_i (2^y - 1) / (IDCG log2(1 + rk_i)), rk_i = 1 + sum_(j != i) sigma(-a (s_i - s_j)).

    `steepness` a: the ranks are exact as it grows, and the gradient vanishes. The loss lies in
    [-1, 0). All equal, or nothing relevant: counts 0.

    Use when: NDCG itself is what counts, and the list is nearly in order already.
    """

    steepness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        kernels.in_range("steepness", self.steepness, 0.0, open_low=True)

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        y = prefs.relevance.double()
        ideal = rank_weights(y, y, prefs.valid, "dcg", "averaged", 1, 0.0).sum(-1)
        gain = torch.where(prefs.valid, gain_of(y), 0.0)
        rank = kernels.soft_ranks(scores, prefs.valid, self.steepness)
        dcg = (gain / torch.log2(1 + rank)).sum(-1)
        return -dcg / torch.where(ideal > 0, ideal, 1.0)
