"""Identity preference optimisation, arXiv 2310.12036, equation 17."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Pairwise
from bvrank.records import Preferences


@dataclass(frozen=True)
class IPO(Pairwise):
    """(h_w - h_l - 1/(2 beta))^2, h = [log pi - log pi_ref] / scored tokens.

    The mean over tokens is the authors' and TRL's normalisation. Rewards are beta * h.

    Use when: DPO drives margins without end; here they aim at 1/(2 beta) nats per token.
    """

    averaged: ClassVar[bool] = True

    def scores(self, prefs: Preferences) -> Tensor:
        return self.beta * kernels.log_ratio(prefs, per_token=True)

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return ((better - worse - 0.5) / self.beta) ** 2
