"""Pairs of one view: margins of the reward, accuracy, calibration, displacement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bvrank.objectives import kernels
from bvrank.records import Encoded, Preferences
from bvrank.scoring.collate import Collator, Row

BINS = 10  # of sigma(beta * margin) in [0, 1]
DRAWS = 1000  # bootstrap
Scored = tuple[Encoded, tuple[float, ...], tuple[float, ...] | None]  # tree, log pi, log pi_ref


@dataclass(frozen=True)
class Margins:
    """`rows`: addresses [P]; `metrics`: name -> value of each row [P]; `chances` [P,N] of the side
    that leads, `right` [P,N] whether that is the chosen one, `weights` [P,N] of the row's pairs
    (sum 1). `unpaired`: rows without two sides."""

    rows: tuple[str, ...]
    metrics: Mapping[str, NDArray[np.float64]]
    chances: NDArray[np.float64]
    right: NDArray[np.float64]
    weights: NDArray[np.float64]
    unpaired: int = 0

    def cells(self, moved: bool) -> dict[str, dict[str, float]]:
        """Figure -> address -> value; `moved`: whether there is a reference to have moved from."""
        wanted = ("accuracy", "brier", "calibration_error", "margin", "chosen_displacement",
                  "rejected_displacement")[: 6 if moved else 4]  # fmt: skip
        values = {**self.metrics, "calibration_error": self._influence()}
        return {name: dict(zip(self.rows, values[name].tolist(), strict=True)) for name in wanted}

    def interval(self, seed: int) -> tuple[float, float, float, float]:
        """Calibration error, its standard error and 95 % interval: the bootstrap over rows, of n-1
        rows a draw."""
        sums = self._sums()  # [P,B]
        value, n = _error(sums.sum(0)), len(self.rows)
        if n < 2:
            return value, math.nan, math.nan, math.nan
        counts = np.random.default_rng(seed).multinomial(n - 1, np.full(n, 1 / n), size=DRAWS)
        drawn = np.array([_error(line) for line in counts @ sums]) * n / (n - 1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return value, float(drawn.std()), float(low), float(high)

    def samples(self, view: str) -> Iterator[dict[str, Any]]:
        """Lines of samples.jsonl."""
        for i, where in enumerate(self.rows):
            yield {"key": where, "view": view, **{k: float(v[i]) for k, v in self.metrics.items()}}

    def _bins(self) -> NDArray[np.int64]:
        return np.minimum((self.chances * BINS).astype(np.int64), BINS - 1)

    def _sums(self) -> NDArray[np.float64]:
        """Of each row and bin [P,BINS] the sum of right - chance, as a share of all rows."""
        signed = self.weights * (self.right - self.chances) / len(self.rows)
        sums = np.zeros((len(self.rows), BINS))
        np.add.at(sums, (np.arange(len(self.rows))[:, None], self._bins()), signed)
        return sums

    def _influence(self) -> NDArray[np.float64]:
        """Cells of the calibration error [P]: what a row adds to the sum over bins of |sum|, with
        the sign of its bin. Their mean is the error, and their scatter its influence function, so
        that paired comparisons of two policies are right to first order. Away from 0: where a bin
        is right as often as it says, its sign is chance, and the error is biased up."""
        sums = self._sums()
        found: NDArray[np.float64] = len(self.rows) * (sums * np.sign(sums.sum(0))).sum(1)
        return found


def of_view(view: str, beta: float, scored: Sequence[Scored]) -> Margins | None:
    """Margins of the rows that have this view and a pair in it; None where none has."""
    own = [s for s in scored if any(b.view == view for b in s[0].branches)]
    if not own:
        return None
    prefs = _preferences(view, own)
    pairs = kernels.pair_weights(prefs, "whole_list")  # [1,B,K,K]
    ratio, tie = kernels.log_ratio(prefs), kernels.rounding(prefs, per_token=False)
    found = {k: m[0].numpy() for k, m in kernels.pair_metrics(prefs, ratio, pairs, tie).items()}
    chances = torch.sigmoid(beta * kernels.gaps(ratio))  # [1,B,K,K]
    found["brier"] = kernels.pair_mean((1 - chances) ** 2, pairs)[0].numpy()
    names = {"accuracy": "rewards/accuracies", "brier": "brier", "margin": "rewards/margins",
             "chosen_displacement": "displacement/chosen",
             "rejected_displacement": "displacement/rejected"}  # fmt: skip
    kept = (pairs[0].sum((-2, -1)) > 0).numpy()
    if not kept.any():
        return None
    right = kernels.ranked_right(kernels.gaps(ratio), tie.unsqueeze(-1))
    flat = [t[0].flatten(1).numpy()[kept] for t in (chances, right, pairs)]
    p, won, weights = flat
    leads = np.where(won == 0, 1 - p, p)
    return Margins(tuple(s[0].where for s, k in zip(own, kept, strict=True) if k),
                   {name: found[of][kept] for name, of in names.items()},
                   np.maximum(leads, 0.5), won, weights, int((~kept).sum()))  # fmt: skip


def _preferences(view: str, scored: Sequence[Scored]) -> Preferences:
    """What an objective would see [1,B,K]."""
    rows = [[Row(t, None if r is None else np.array(r))] for t, _, r in scored]
    labels = Collator().labels(rows, (view,))
    for b, (tree, logps, _) in enumerate(scored):
        values = [v for v, branch in zip(logps, tree.branches, strict=True) if branch.view == view]
        labels.policy[0, b, : len(values)] = torch.tensor(values, dtype=torch.float64)
    return labels


def _error(sums: NDArray[np.float64]) -> float:
    return float(np.abs(sums).sum())
