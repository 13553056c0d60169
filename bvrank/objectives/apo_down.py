"""Anchored preference optimisation, APO-down, arXiv 2408.06266, equation 8."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bvrank.objectives.base import Pairwise


@dataclass(frozen=True)
class APODown(Pairwise):
    """sigma(s_w) + 1 - sigma(s_w - s_l).

    Lowers both sides, the worse one more.

    Use when: the better sides are worse than what the model writes by itself.
    """

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return better.sigmoid() + (worse - better).sigmoid()
