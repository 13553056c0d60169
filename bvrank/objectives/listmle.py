"""ListMLE on DPO's rewards: the likelihood of the label order under Plackett and Luce.

Xia et al., 2008; as a DPO for rankings in arXiv 2305.18290, appendix A.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Listwise
from bvrank.records import Preferences


@dataclass(frozen=True)
class ListMLE(Listwise):
    """-sum_k [s_(k) - logsumexp_(i >= k) s_(i)] in the order of relevance.

    Equal relevance is ordered by the row's draw: (seed, pass, row). All equal: counts 0.

    Use when: the whole order of a list is meant, down to its last place.
    """

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        place = kernels.places(prefs.relevance.double(), prefs.draw, prefs.valid)
        order = place.argsort(-1)  # padding last
        valid = prefs.valid.gather(-1, order)
        ordered = torch.where(valid, scores.gather(-1, order), kernels.LOG_ZERO)
        left = ordered.flip(-1).logcumsumexp(-1).flip(-1)
        return torch.where(valid, left - ordered, 0.0).sum(-1)
