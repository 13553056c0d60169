"""Logistic regression of outcomes in [0, 1] with weights, for win rates that control for more.

    minimise over b   l1 |b|_1 + l2/2 |b|^2 - sum_i w_i (y_i log p_i + (1 - y_i) log(1 - p_i))
    p_i = 1 / (1 + exp(-x_i . b)); no intercept but the one that a column of ones makes

By Newton steps with backtracking, for a handful of features.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bvrank.signs import ALIKE
from bvrank.statistics import unseen

Array = NDArray[np.float64]
STEPS, TOLERANCE = 100, 1e-12
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
        step = _penalised(b, gradient, curvature, l1) - b if l1 else newton
        size = 1.0
        while (new := _value(x, y, weights, b + size * step, l1, l2)) > value and size > 1e-10:
            size /= 2
        if new > value:
            break
        b = b + size * step
        small = np.abs(size * step).max() <= TOLERANCE * (1 + np.abs(b).max())
        value, gain = new, value - new
        if small or gain <= 1e-15 * (1 + abs(new)):
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


def spread(statistic: Callable[[Array], float], outcomes: Array, seed: int, draws: int
           ) -> tuple[float, float, float]:  # fmt: skip
    """Standard error and 95 % interval of a win rate of units with these `outcomes` [N], by
    resampling n - 1 of them; NaN of a single one. The statistic gets how often each unit is drawn,
    times n / (n - 1). Outcomes, or draws, that are all alike are no certainty: see
    `statistics.unseen`."""
    if (n := len(outcomes)) < 2:
        return (float("nan"),) * 3
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(n - 1, np.full(n, 1 / n), size=draws) * (n / (n - 1))
    found = np.array([statistic(c) for c in counts])
    low, high = np.quantile(found, [0.025, 0.975])
    if min(np.ptp(outcomes), np.ptp(found)) <= ALIKE:
        low, high = unseen(statistic(np.ones(n)), n, (0.0, 1.0))
    return float(found.std(ddof=1)), float(low), float(high)


def _value(x: Array, y: Array, w: Array, b: Array, l1: float, l2: float) -> float:
    penalty = l1 * np.abs(b).sum() + l2 / 2 * (b @ b)
    return float(w @ losses(x, y, b) + penalty)


def _penalised(b: Array, gradient: Array, curvature: Array, l1: float) -> Array:
    """The minimum of the quadratic around `b` with the penalty: with every choice of signs it is a
    linear equation, and the right one confirms its signs. Those of `b` are tried first."""
    linear, now = curvature @ b - gradient, np.sign(b)
    signs = sorted(product((0.0, 1.0, -1.0), repeat=len(b)), key=lambda s: np.abs(s - now).sum())
    least, found = np.inf, np.zeros(len(b))
    for sign in map(np.array, signs):
        on, z = sign != 0, np.zeros(len(b))
        z[on] = np.linalg.solve(curvature[np.ix_(on, on)], linear[on] - l1 * sign[on])
        if (z * sign < 0).any():
            continue
        if (np.abs(linear - curvature @ z)[~on] <= l1).all():
            return z
        value = z @ curvature @ z / 2 - linear @ z + l1 * np.abs(z).sum()
        least, found = (value, z) if value < least else (least, found)
    return found
