"""Anchored preference optimisation, APO-zero, arXiv 2408.06266, equation 7."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bvrank.objectives.base import Pairwise


@dataclass(frozen=True)
class APOZero(Pairwise):
    """1 - sigma(s_w) + sigma(s_l).

    Raises the better and lowers the worse side, each by itself.

    Use when: the better sides are better than what the model writes by itself.
    """

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return (-better).sigmoid() + worse.sigmoid()
