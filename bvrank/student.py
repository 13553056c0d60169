"""Student's t without SciPy, with any degrees of freedom."""

from __future__ import annotations

import math

LEVEL = 0.95


def student(freedom: float) -> float:
    """The quantile of Student's t that leaves LEVEL between it and its negative."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tails(middle, freedom) > 1 - LEVEL else (low, middle)
    return high


def tails(t: float, freedom: float) -> float:
    """The chance of a t at least as far from 0: the regularised incomplete beta function
    I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t^2)."""
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by Lentz's continued fraction (Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b)
                     - math.lgamma(a) - math.lgamma(b)) / a  # fmt: skip
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            h *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * h
