"""Supervised fine-tuning on the best candidate: negative log-likelihood per scored token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from bvrank.objectives import kernels
from bvrank.records import BARE, FULL, Outcome, Preferences


@dataclass(frozen=True)
class SFT:
    """sum of -log pi(best) / scored tokens, both over the global batch.

    `view`: full, bare, or both (each view is a mean over its own tokens, the two are added).
    ConfigError for another view.

    Use when: good answers are all there is, or to see what preferences add to imitation.
    """

    view: Literal["full", "bare", "both"] = "full"

    def __post_init__(self) -> None:
        kernels.check_choices(self)

    @property
    def views(self) -> tuple[str, ...]:
        return (FULL, BARE) if self.view == "both" else (self.view,)

    @property
    def candidates(self) -> int:
        return 1

    @property
    def needs_reference(self) -> bool:
        return False

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B]: nats of the best candidate, counted by its tokens."""
        relevance = torch.where(prefs.valid, prefs.relevance, -torch.inf)
        best = relevance.argmax(-1, keepdim=True)  # [V,B,1]
        present = prefs.valid.any(-1)
        nll = -torch.where(present, prefs.policy.gather(-1, best).squeeze(-1), 0.0)
        tokens = torch.where(present, prefs.length.gather(-1, best).squeeze(-1), 0).double()
        logps = -nll.detach()
        return Outcome(
            loss=nll,
            count=tokens,
            metrics={"nll": nll.detach() / tokens.clamp(min=1), "logps/chosen": logps},
        )
