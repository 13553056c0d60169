"""ListNet on DPO's rewards: cross-entropy to a target over the list. Cao et al., 2007."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.base import Weighted
from bvrank.records import Preferences


@dataclass(frozen=True)
class ListNet(Weighted):
    """-sum_i q_i log softmax(s)_i, q = w / sum w, w the rank weights.

    Up to the scale of sum w it is IRPO in its softmax form.

    Use when: every list should weigh the same, however many relevant items it has.
    """

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        w = self.weights(prefs, scores)
        total = w.sum(-1, keepdim=True)
        q = w / torch.where(total > 0, total, 1.0)
        log_p = torch.where(prefs.valid, kernels.log_softmax(scores, prefs.valid), 0.0)
        return -(q * log_p).sum(-1)
