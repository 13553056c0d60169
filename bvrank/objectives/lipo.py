"""Listwise preference optimisation with lambda weights, LiPO-lambda, arXiv 2402.01878."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Listwise
from bvrank.objectives.gains import gain_of
from bvrank.records import Preferences


@dataclass(frozen=True)
class LiPO(Listwise):
    """sum_(y_i > y_j) |G_i - G_j| |1/D_i - 1/D_j| log(1 + e^(s_j - s_i)).

    G = 2^y - 1, D = ln(1 + tau), tau the rank by current s; the weights carry no gradient. Scores
    that are level up to fp32's rounding, as all are before step 1, are ranked by the row's draw.
    All equal: counts 0.

    Use when: a swap near the top of the list should weigh more than one below.
    """

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        gain = torch.where(prefs.valid, gain_of(prefs.relevance), 0.0)
        tau = kernels.places(kernels.settled(scores, self.tie(prefs)), prefs.draw, prefs.valid)
        discount = 1 / torch.log1p(tau.double())
        weights = kernels.gaps(gain).abs() * kernels.gaps(discount).abs()  # [V,B,K,K]
        better = kernels.pair_weights(prefs, "whole_list") > 0
        losses = kernels.logistic(kernels.gaps(scores), 0.0)
        return torch.where(better, weights * losses, 0.0).sum((-2, -1))
