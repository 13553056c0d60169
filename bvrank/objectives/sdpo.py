"""Softmax DPO, one better candidate against many worse ones, arXiv 2406.09215."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Listwise
from bvrank.records import Preferences


@dataclass(frozen=True)
class SDPO(Listwise):
    """log(1 + sum_l e^(s_l - s_w)), w the best candidate, l all of lower relevance.

    Several best ones: the mean over them. None lower: counts 0.

    Use when: a list has one right item and the order of the others does not matter.
    """

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        best = kernels.shares_of_best(prefs.relevance, prefs.valid)
        worse = prefs.valid & (best == 0)
        rivals = kernels.masked_logsumexp(scores, worse).unsqueeze(-1)
        gap = torch.where(best > 0, scores - rivals, 0.0)
        return (best * kernels.logistic(gap, 0.0)).sum(-1)
