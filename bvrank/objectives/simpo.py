"""Simple preference optimisation, reference-free, arXiv 2405.14734, equation 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Pairwise
from bvrank.records import Preferences


@dataclass(frozen=True)
class SimPO(Pairwise):
    """-log sigma(beta (m_w - m_l) - gamma), m = log pi / scored tokens.

    `gamma` is the margin that the better side has to lead by. Rewards are beta * m.

    Use when: length bias is the worry, or there is no memory or time for a reference.
    """

    beta: float = 2.0
    gamma: float = 1.0

    needs_reference: ClassVar[bool] = False
    averaged: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        kernels.in_range("gamma", self.gamma, 0.0)

    def scores(self, prefs: Preferences) -> Tensor:
        return self.beta * kernels.mean_log_prob(prefs)

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return kernels.logistic(better - worse - self.gamma, 0.0)
