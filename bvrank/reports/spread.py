"""Mean, spread and 95 % interval of a few numbers: what seeds are for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

LARGEST = 1e150


@dataclass(frozen=True)
class Basis:
    """What the values of a figure that was evaluated rest on, policy by policy: how many prompts,
    and the seeds of its evaluations."""

    prompts: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Spread:
    """`n` values: their mean and, from two on, their sample standard deviation. `own`: the 95 %
    interval that a single value came with; `basis`: of an evaluation's figure."""

    mean: float
    std: float | None
    n: int
    own: tuple[float, float] | None = None
    basis: Basis | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the 95 % interval of the mean (Student's t); None for one value."""
        if self.std is None:
            return None
        return t_quantile(0.975, self.n - 1) * self.std / math.sqrt(self.n)


def spread(values: Iterable[float]) -> Spread:
    """The Spread of one value or more; one that is not finite, or too large for its square to be,
    makes it not finite."""
    numbers = [float(v) for v in values]
    if not all(abs(v) < LARGEST for v in numbers):
        return Spread(math.nan, math.nan if len(numbers) > 1 else None, len(numbers))
    std = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Spread(statistics.fmean(numbers), std, len(numbers))


@lru_cache(maxsize=256)
def t_quantile(p: float, freedom: int) -> float:
    """The p-quantile (0.5 <= p < 1) of Student's t with a whole number of degrees of freedom.

    Bisection on the closed form of its distribution, so exact to rounding and without SciPy.
    """
    if not 0.5 <= p < 1 or freedom < 1:
        raise ValueError(f"needs 0.5 <= p < 1 and freedom >= 1, got {p} and {freedom}")
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2 * p - 1:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _within(middle, freedom) < 2 * p - 1 else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """P(|T| < t): Abramowitz and Stegun (1964), 26.7.3 for odd and 26.7.4 for even freedom."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(
        1 + odd, freedom, 2
    ):  # even: 1, 1/2, 1*3/(2*4), ...; odd: 1, 2/3, 2*4/(3*5), ...
        total += term
        term *= k / (k + 1) * cosine * cosine
    inner = math.sin(angle) * total
    return (angle + inner) * 2 / math.pi if odd else inner
