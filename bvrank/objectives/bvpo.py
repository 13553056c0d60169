"""Bias-variance optimised preference optimisation, arXiv 2510.05095."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bvrank.objectives import kernels
from bvrank.objectives.base import check_mixed
from bvrank.objectives.dpo import DPO
from bvrank.records import BARE, FULL, Outcome, Preferences


@dataclass(frozen=True)
class BVPO:
    """alpha * mean(L_trace) + (1 - alpha) * mean(L_empty).

    L_trace is `loss` (an objective of one view, DPO in the paper) on the view `full`, L_empty on
    `bare`, the trace disabled. An endpoint, alpha 1 or 0, asks for no other view. `beta`, if set,
    stands in place of the loss's own, `bare_beta` in L_empty. ConfigError for what does not fit.

    Use when: a reasoning model answers with and without thinking, and one trace is a noisy sample.
    """

    alpha: float = 0.5
    beta: float | None = None
    bare_beta: float | None = None
    loss: Any = field(default_factory=DPO)

    def __post_init__(self) -> None:
        kernels.in_range("alpha", self.alpha, 0.0, 1.0)
        check_mixed(self.loss, self.beta, self.bare_beta)

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(v for v, share in ((FULL, self.alpha), (BARE, 1 - self.alpha)) if share > 0)

    @property
    def candidates(self) -> int | None:
        return self.loss.candidates  # type: ignore[no-any-return]

    @property
    def needs_reference(self) -> bool:
        return bool(self.loss.needs_reference)

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B], axis V in the order of `views`, each view's loss weighted by its share."""
        parts = [self._on(v)(kernels.one_view(prefs, i)) for i, v in enumerate(self.views)]
        loss, count = (torch.cat([getattr(p, n) for p in parts]) for n in ("loss", "count"))
        shares = loss.new_tensor([self.alpha if v == FULL else 1 - self.alpha for v in self.views])
        metrics = {n: torch.cat([p.metrics[n] for p in parts]) for n in parts[0].metrics}
        metrics["loss"] = loss.detach()
        return Outcome(shares[:, None] * loss, count, {"loss": loss}, metrics)

    def _on(self, view: str) -> Any:
        beta = self.bare_beta if view == BARE and self.bare_beta is not None else self.beta
        return self.loss if beta is None else replace(self.loss, beta=beta)
