"""In-context ranking preference optimisation, arXiv 2504.15477: a listwise DPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.errors import ConfigError
from bvrank.objectives import kernels
from bvrank.objectives.base import Weighted
from bvrank.records import Preferences


@dataclass(frozen=True)
class IRPO(Weighted):
    """sum_i w(i) l_i, w(i) = gain(relevance_i) discount(rank_i), p = softmax(s) over the list.

    `form`: l_i = log(1 + 1/p_i) (paper), -log p_i (softmax, S-DPO per anchor), or (official code)
    log(1 + (1-p_i)/((n-1) p_i)) / n, the item itself left out and means in place of sums.
    `normalize` divides by the ideal sum of weights (IDCG). `leaky_self_mask`: leave the item out as
    the official code does, by adding -100 beta to its term, which leaks for small beta.

    Use when: relevance is graded, and the top of the list matters most.
    """

    form: Literal["paper", "official", "softmax"] = "paper"
    normalize: bool = False
    leaky_self_mask: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leaky_self_mask and self.form != "official":
            what = f"form={self.form} leaves no item out; set form=official, or leave this out"
            raise ConfigError(what, where="leaky_self_mask")

    def loss(self, prefs: Preferences, scores: Tensor) -> Tensor:
        w = self.weights(prefs, scores)  # [V,B,K]
        if self.normalize:
            ideal = self.ideal(prefs)
            w = w / torch.where(ideal > 0, ideal, 1.0).unsqueeze(-1)
        return (w * torch.where(prefs.valid, self._anchors(scores, prefs.valid), 0.0)).sum(-1)

    def _anchors(self, scores: Tensor, valid: Tensor) -> Tensor:
        """l_i [V,B,K]."""
        log_p = kernels.log_softmax(scores, valid)
        if self.form == "paper":
            return -logsigmoid(log_p)
        if self.form == "softmax":
            return -log_p
        n = valid.sum(-1, keepdim=True).double()
        rivals = kernels.logsumexp_of_others(scores, valid)
        if self.leaky_self_mask:
            rivals = torch.logaddexp(rivals, scores - 100 * self.beta)
        gap = scores - (rivals - (n - 1).clamp(min=1).log())
        return -logsigmoid(torch.where(valid, gap, 0.0)) / n.clamp(min=1)
