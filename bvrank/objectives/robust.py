"""Robust DPO (provably robust to flipped labels), arXiv 2403.00409."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.objectives import kernels
from bvrank.objectives.base import Pairwise


@dataclass(frozen=True)
class Robust(Pairwise):
    """[-(1-e) log sigma(D) + e log sigma(-D)] / (1-2e), D = s_w - s_l.

    Its mean over labels flipped with chance e is the DPO loss on clean ones. `label_smoothing` e
    lies in [0, 0.5).

    Use when: a known share of the labels is wrong. The loss is unbounded below in D.
    """

    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        kernels.in_range("label_smoothing", self.label_smoothing, 0.0, 0.5, open_high=True)

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        gap, e = better - worse, self.label_smoothing
        return (-(1 - e) * logsigmoid(gap) + e * logsigmoid(-gap)) / (1 - 2 * e)
