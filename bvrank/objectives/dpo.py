"""Direct preference optimisation, arXiv 2305.18290, equation 7; label smoothing as in cDPO."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Pairwise


@dataclass(frozen=True)
class DPO(Pairwise):
    """-(1-e) log sigma(s_w - s_l) - e log sigma(s_l - s_w).

    `label_smoothing` e in [0, 0.5]: the share of labels believed to be flipped; above 0 it is cDPO.

    Use when: nothing speaks for another one; every comparison starts here.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        kernels.in_range("label_smoothing", self.label_smoothing, 0.0, 0.5)

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return kernels.logistic(better - worse, self.label_smoothing)
