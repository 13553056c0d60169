"""Logistic regression of outcomes in [0, 1] with weights, for win rates that control for more.

    minimise over b   l1 |b|_1 + l2/2 |b|^2 - sum_i w_i (y_i log p_i + (1 - y_i) log(1 - p_i))
    p_i = 1 / (1 + exp(-x_i . b)); no intercept but the one that a column of ones makes

By Newton steps with backtracking; under an l1 penalty each step's quadratic is minimised by
coordinate descent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEPS, SWEEPS, TOLERANCE = 100, 200, 1e-12
RIDGE = 1e-9  # keeps what no outcome decides (all won, equal columns) finite


def fit(x: Array, y: Array, weights: Array, l1: float = 0.0, l2: float = 0.0,
        start: Array | None = None) -> Array:  # fmt: skip
    """The coefficients [F] of features [N,F]."""
    l2 += RIDGE
    b: Array = np.zeros(x.shape[1]) if start is None else start.copy()
    value = _value(x, y, weights, b, l1, l2)
    for _ in range(STEPS):
        p = sigmoid(x @ b)
        gradient = x.T @ (weights * (p - y)) + l2 * b
        curvature = (x.T * (weights * p * (1 - p))) @ x + l2 * np.eye(len(b))
        newton = -np.linalg.solve(curvature, gradient).astype(np.float64)
        step = _descent(b, gradient, curvature, l1) - b if l1 else newton
        size = 1.0
        while (new := _value(x, y, weights, b + size * step, l1, l2)) > value and size > 1e-10:
            size /= 2
        if new > value:
            break
        b = b + size * step
        done = np.abs(size * step).max() <= TOLERANCE * (1 + np.abs(b).max())
        value = new
        if done:
            break
    return b


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    found: Array = np.exp(-np.logaddexp(0.0, -z))
    return found


def losses(x: Array, y: Array, b: Array) -> Array:
    """The log-loss of each row."""
    z = x @ b
    found: Array = np.logaddexp(0.0, z) - y * z
    return found


def spread(statistic: Callable[[NDArray[np.int64]], float], n: int, seed: int, draws: int
           ) -> tuple[float, float, float]:  # fmt: skip
    """Standard error and 95 % interval of a statistic of `n` units, by resampling them; NaN of a
    single one. The statistic gets how often each unit is drawn."""
    if n < 2:
        return (float("nan"),) * 3
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    found = np.array([statistic(c) for c in counts])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(found.std(ddof=1)), float(low), float(high)


def _value(x: Array, y: Array, w: Array, b: Array, l1: float, l2: float) -> float:
    penalty = l1 * np.abs(b).sum() + l2 / 2 * (b @ b)
    return float(w @ losses(x, y, b) + penalty)


def _descent(b: Array, gradient: Array, curvature: Array, l1: float) -> Array:
    """The minimum of the quadratic around `b` with the penalty: soft thresholds in turn."""
    found, slope = b.copy(), gradient.copy()
    for _ in range(SWEEPS):
        moved = 0.0
        for j in range(len(b)):
            target = found[j] - slope[j] / curvature[j, j]
            size = max(abs(target) - l1 / curvature[j, j], 0.0)
            change = (size if target > 0 else -size) - found[j]
            if change:
                found[j] += change
                slope += change * curvature[:, j]
                moved = max(moved, abs(change))
        if moved <= TOLERANCE:
            break
    return found
