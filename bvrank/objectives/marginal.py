"""DPO on answers, the trace summed out by sampling: the bridge from one trace to the ideal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bvrank.objectives import kernels
from bvrank.objectives.dpo import DPO
from bvrank.records import Outcome, Preferences


@dataclass(frozen=True)
class Marginal(DPO):
    """-log sigma(s_w - s_l), s(y) = beta logmeanexp_i [log pi(r_i,y|x) - log pi_ref(r_i,y|x)].

    The candidates that share an `answer` are traces r_1 .. r_S of it, drawn from the reference;
    their log-mean-exp estimates log pi(y|x)/pi_ref(y|x) with a bias of O(1/S) in value and
    gradient. S = 1 is DPO. An answer's relevance, reference and length are the means over its
    traces (and its NLL, for `sft_weight`, is that reference plus the log-mean-exp, per token).

    Use when: rows hold several traces per answer, to see what the noise of one trace costs.
    """

    wants_traces: ClassVar[bool] = True  # says so where no answer has two

    @property
    def every_trace(self) -> bool:
        return True

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B] over answers: the first trace of each stands for it."""
        return super().__call__(over_traces(prefs))


def over_traces(prefs: Preferences) -> Preferences:
    """One candidate per answer; its policy is its reference plus the log-mean-exp of ratios."""
    valid, numbers = prefs.valid, torch.arange(prefs.valid.shape[-1], device=prefs.valid.device)
    same = prefs.answer.unsqueeze(-1) == prefs.answer.unsqueeze(-2)  # [V,B,K,K]
    same = same & valid.unsqueeze(-1) & valid.unsqueeze(-2)
    traces = same.sum(-1).clamp(min=1).double()

    def mean(values: Tensor) -> Tensor:
        return torch.where(same, values.double().unsqueeze(-2), 0.0).sum(-1) / traces

    ratios = kernels.log_ratio(prefs).unsqueeze(-2).expand_as(same)
    ratio = kernels.masked_logsumexp(ratios, same) - traces.log()
    reference = mean(prefs.reference)
    return replace(
        prefs, policy=torch.where(valid, reference + ratio, 0.0), reference=reference,
        relevance=mean(prefs.relevance), length=mean(prefs.length).round().long(),
        valid=valid & (same.long().argmax(-1) == numbers),
    )  # fmt: skip
