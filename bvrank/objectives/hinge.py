"""The hinge loss on DPO's rewards: SLiC-HF, arXiv 2305.10425, in the form of RSO, 2309.06657."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bvrank.objectives.base import Pairwise


@dataclass(frozen=True)
class Hinge(Pairwise):
    """max(0, 1 - D), D = s_w - s_l.

    Use when: pairs that are settled (D > 1) should stop pulling altogether.
    """

    def loss(self, better: Tensor, worse: Tensor) -> Tensor:
        return (1 - (better - worse)).clamp(min=0)
