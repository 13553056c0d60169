"""Bias-variance optimised preference optimisation, arXiv 2510.05095."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bvrank.objectives import kernels
from bvrank.objectives.dpo import DPO
from bvrank.records import BARE, FULL, Outcome, Preferences


@dataclass(frozen=True)
class BVPO:
    """alpha * mean(L_trace) + (1 - alpha) * mean(L_empty), both DPO losses.

    L_trace reads the view `full` (traces kept), L_empty the view `bare` (the trace disabled).
    alpha = 1 is DPO on full, alpha = 0 DPO on bare; an endpoint asks for no other view.
    ConfigError when a field is out of range.
    """

    alpha: float = 0.5
    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        kernels.in_range("alpha", self.alpha, 0.0, 1.0)
        DPO(self.beta, self.label_smoothing)

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(v for v, share in self._shares().items() if share > 0)

    @property
    def candidates(self) -> int:
        return 2

    @property
    def needs_reference(self) -> bool:
        return True

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B], axis V in the order of `views`, each view's loss weighted by its share."""
        outcome = DPO(self.beta, self.label_smoothing)(prefs)
        shares = [self._shares()[v] for v in self.views]
        weight = torch.tensor(shares, dtype=torch.float64, device=prefs.policy.device)
        metrics = {**outcome.metrics, "loss": outcome.loss.detach()}
        terms = {"loss": outcome.loss}
        return replace(outcome, loss=weight[:, None] * outcome.loss, terms=terms, metrics=metrics)

    def _shares(self) -> dict[str, float]:
        return {FULL: self.alpha, BARE: 1.0 - self.alpha}
