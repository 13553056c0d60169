"""Bias-variance optimised preference optimisation, arXiv 2510.05095."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from bvrank.objectives import kernels
from bvrank.objectives.base import Mixed, check_mixed, check_share
from bvrank.objectives.dpo import DPO
from bvrank.records import BARE, FULL, Outcome, Preferences


@dataclass(frozen=True)
class BVPO(Mixed):
    """alpha * mean(L_trace) + (1 - alpha) * mean(L_empty).

    L_trace is `loss` (an objective of one view, DPO in the paper) on the view `full`, L_empty on
    `bare`, the trace disabled. An endpoint, alpha 1 or 0, asks for no other view. `beta`, if set,
    stands in place of the loss's own, `bare_beta` in L_empty. alpha=auto is estimated as the run
    goes. ConfigError for what does not fit.

    Use when: a reasoning model answers with and without thinking, and one trace is a noisy sample.
    """

    alpha: float | Literal["auto"] = 0.5
    beta: float | None = None
    bare_beta: float | None = None
    loss: Any = field(default_factory=DPO)

    def __post_init__(self) -> None:
        check_mixed(self.loss, self.beta, self.bare_beta)
        check_share(self.alpha, self.loss)

    @property
    def shares(self) -> dict[str, float]:
        share = 0.5 if self.alpha == "auto" else self.alpha  # auto: the paper's, until estimated
        return {v: s for v, s in ((FULL, share), (BARE, 1 - share)) if s > 0}

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(self.shares)

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B], axis V in the order of `views`, each view's loss weighted by its share."""
        parts = [self.on(v)(kernels.one_view(prefs, i)) for i, v in enumerate(self.views)]
        loss, count = (torch.cat([getattr(p, n) for p in parts]) for n in ("loss", "count"))
        metrics = {n: torch.cat([p.metrics[n] for p in parts]) for n in parts[0].metrics}
        metrics["loss"] = loss.detach()
        shares = loss.new_tensor(list(self.shares.values()))
        return Outcome(shares[:, None] * loss, count, {"loss": loss}, metrics)

    def on(self, view: str) -> Any:
        beta = self.bare_beta if view == BARE and self.bare_beta is not None else self.beta
        return self.loss if beta is None else replace(self.loss, beta=beta)
