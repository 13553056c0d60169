"""Odds-ratio preference optimisation, reference-free, arXiv 2403.07691, equations 6 and 7."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Pairwise
from bvrank.records import Preferences

CERTAIN = -1e-6  # m nearer to 0 than this counts as this: odds stay below a million


@dataclass(frozen=True)
class ORPO(Pairwise):
    """-m_w - beta log sigma(o_w - o_l), o = m - log(1 - e^m), m = log pi / scored tokens.

    `beta` is the paper's lambda; `sft_weight` scales the first term, 1 in the paper. Rewards are o.

    Use when: one run has to do the work of SFT and of preference optimisation.
    """

    sft_weight: float = 1.0

    needs_reference: ClassVar[bool] = False
    averaged: ClassVar[bool] = True

    def scores(self, prefs: Preferences) -> Tensor:
        m = kernels.mean_log_prob(prefs).clamp(max=CERTAIN)
        near = torch.log(-torch.expm1(m.clamp(min=-math.log(2))))  # each branch where it is exact
        far = torch.log1p(-torch.exp(m.clamp(max=-math.log(2))))
        return m - torch.where(m > -math.log(2), near, far)

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return self.beta * kernels.logistic(better - worse, 0.0)
