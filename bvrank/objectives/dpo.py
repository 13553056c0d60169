"""Direct preference optimisation, arXiv 2305.18290, equation 7; label smoothing as in cDPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bvrank.objectives import kernels
from bvrank.records import Outcome, Preferences


@dataclass(frozen=True)
class DPO:
    """-log sigma(s_w - s_l) with s = beta [log pi - log pi_ref].

    `beta` scales the log-ratio; `label_smoothing` e in [0, 0.5] mixes (1-e, e); `view` is full or
    bare; `pairs` says which pairs of a list train. ConfigError when a field is out of range.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    view: Literal["full", "bare"] = "full"
    pairs: kernels.Pairs = "best_worst"

    def __post_init__(self) -> None:
        kernels.check_choices(self)
        kernels.in_range("beta", self.beta, 0.0, open_low=True)
        kernels.in_range("label_smoothing", self.label_smoothing, 0.0, 0.5)

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def candidates(self) -> int:
        return 2

    @property
    def needs_reference(self) -> bool:
        return True

    def __call__(self, prefs: Preferences) -> Outcome:
        """Outcome [V,B]; a row without two candidates of different relevance counts 0."""
        scores = self.beta * kernels.log_ratio(prefs)  # [V,B,K]
        weights = kernels.pair_weights(prefs, self.pairs)  # [V,B,K,K]
        losses = kernels.logistic(kernels.gaps(scores), self.label_smoothing)
        return Outcome(
            loss=kernels.pair_mean(losses, weights),
            count=(weights.sum((-2, -1)) > 0).double(),
            metrics=kernels.pair_metrics(prefs, scores, weights),
        )
