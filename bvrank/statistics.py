"""Estimates with their uncertainty: means over prompts and seeds, paired differences, power.

A figure is a mean of cells [P,R]: P prompts, R runs (seeds) of one configuration, every prompt in
every run. Of one run with many prompts, the interval is the percentile bootstrap over prompts,
which draws n - 1 of n, so that its variance is unbiased (Rao and Wu, 1988). Of few prompts, or of
several runs, it is Student's: the variance of the mean by the components of a crossed design
(prompts, runs, the rest), with Satterthwaite's degrees of freedom. A single run says nothing of
what another training would give, and two say little: their interval covers in 84 % of cases where
runs differ as much as prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.float64]  # [P,R]
T = TypeVar("T")
DRAWS = 10_000
PART = 2_000_000  # drawn counts in memory at a time
LEVEL = 0.95
MANY = 30  # prompts from which on a bootstrap over them covers
Z_LEVEL, Z_POWER = 1.959964, 0.841621  # normal quantiles of 0.975, and of the usual power 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error and 95 % interval. `prompts` and `runs` say what it is a mean of;
    with one prompt neither error nor interval is known (NaN)."""

    value: float
    stderr: float
    interval: tuple[float, float]
    prompts: int
    runs: int


@dataclass(frozen=True)
class Difference:
    """`b - a` on the same prompts: the estimate, and the two-sided p-value of no difference."""

    estimate: Estimate
    p: float


def estimate(cells: Cells, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """The mean of cells [P,R]. ValueError for none, or for a cell that is no finite number."""
    cells = _checked(cells)
    value, (prompts, runs) = float(cells.mean()), cells.shape
    if prompts < 2:
        return Estimate(value, math.nan, (math.nan, math.nan), prompts, runs)
    spread = _spread([cells])
    if runs == 1 and prompts >= MANY:
        low, high = np.quantile(_draws(cells, seed, draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(value, spread.stderr, (float(low), float(high)), prompts, runs)
    return Estimate(value, spread.stderr, spread.interval(value), prompts, runs)


def difference(a: Cells, b: Cells, seed: int = 0, draws: int = DRAWS) -> Difference:
    """Of `b` over `a`, paired by prompt, and by run where both have as many (runs that share a
    seed); else their runs are independent of each other, and a single one says nothing of others.
    ValueError where the prompts are not the same ones."""
    a, b = _checked(a), _checked(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} prompts against {len(b)}")
    if a.shape == b.shape:
        return _paired(b - a, seed, draws)
    gaps = (b.mean(1) - a.mean(1))[:, None]
    value, prompts = float(gaps.mean()), len(gaps)
    if prompts < 2:
        return _paired(gaps, seed, draws)
    spread = _spread([gaps, *(x for x in (a, b) if x.shape[1] > 1)])
    runs = min(a.shape[1], b.shape[1])
    found = Estimate(value, spread.stderr, spread.interval(value), prompts, runs)
    return Difference(found, spread.p(value))


def _paired(cells: Cells, seed: int, draws: int) -> Difference:
    found = estimate(cells, seed, draws)
    prompts, runs = cells.shape
    if prompts < 2:
        return Difference(found, math.nan)
    if runs > 1 or prompts < MANY:
        return Difference(found, _spread([cells]).p(found.value))
    drawn = _draws(cells, seed, draws)
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(found, min(1.0, float(2 * (1 + tail) / (1 + draws))))


def holm(values: Mapping[T, float]) -> dict[T, float]:
    """p-values, adjusted so that the chance of any false finding among them stays below the level
    (Holm, 1979). NaN stays NaN, and counts as no test."""
    tests = sorted((k for k in values if not math.isnan(values[k])), key=lambda k: values[k])
    adjusted, highest = dict(values), 0.0
    for rank, key in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * values[key]))
        adjusted[key] = highest
    return adjusted


def needed(cells: Cells, gain: float) -> int | None:
    """How many prompts show a true `gain` in four of five tries (power 0.8, two-sided 0.05), when
    they scatter as these do; None where one prompt says nothing of scatter."""
    cells = _checked(cells)
    if len(cells) < 2:
        return None
    spread = float(cells.mean(1).std(ddof=1))
    return max(2, math.ceil(((Z_LEVEL + Z_POWER) * spread / gain) ** 2))


def pass_at(right: int, drawn: int, k: int) -> float:
    """The unbiased estimate that one of `k` samples is right (Chen et al., 2021, equation 1).
    ValueError for fewer samples than k."""
    if not 1 <= k <= drawn:
        raise ValueError(f"pass@{k} of {drawn} samples")
    return 1.0 - math.comb(drawn - right, k) / math.comb(drawn, k)


def majority(votes: Sequence[T], right: Sequence[float]) -> float:
    """Whether the most frequent vote is right, its share where several are as frequent; `right[i]`
    belongs to `votes[i]`. 0.0 of no votes."""
    counts: dict[T, int] = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    most = max(counts.values(), default=0)
    first = {vote: i for i, vote in reversed(list(enumerate(votes)))}
    best = [right[first[vote]] for vote, count in counts.items() if count == most]
    return sum(best) / len(best) if best else 0.0


def _checked(cells: Cells) -> Cells:
    cells = np.asarray(cells, dtype=np.float64)
    cells = cells[:, None] if cells.ndim == 1 else cells
    if not cells.size:
        raise ValueError("a mean of nothing")
    if not np.isfinite(cells).all():
        raise ValueError("a cell is no finite number")
    return cells


@dataclass(frozen=True)
class _Spread:
    """The standard error of a mean, and how many degrees of freedom say so."""

    stderr: float
    freedom: float

    def interval(self, value: float) -> tuple[float, float]:
        half = student(self.freedom) * self.stderr
        return value - half, value + half

    def p(self, value: float) -> float:
        if self.stderr == 0:
            return 1.0 if value == 0 else 0.0
        return _tails(value / self.stderr, self.freedom)


def _spread(parts: Sequence[Cells]) -> _Spread:
    """Of the mean of cells [P,R]; of further ones beside it, only what their runs add counts."""
    terms = [_components(parts[0])]
    terms += [[c for c in _components(part)[1:2]] for part in parts[1:]]
    every = [term for found in terms for term in found]
    variance = sum(v for v, _ in every)
    weights = sum(v * v / n for v, n in every)
    return _Spread(math.sqrt(variance), variance**2 / weights if weights else 1.0)


def _components(cells: Cells) -> list[tuple[float, float]]:
    """What prompts, runs and the rest add to the variance of the mean, each with its degrees of
    freedom; none adds less than 0."""
    prompts, runs = cells.shape
    if runs == 1:
        return [(float(cells.var(ddof=1)) / prompts, prompts - 1)]
    mean, by_prompt, by_run = cells.mean(), cells.mean(1), cells.mean(0)
    left = cells - by_prompt[:, None] - by_run[None] + mean
    rest = float((left**2).sum()) / ((prompts - 1) * (runs - 1))
    own = max(0.0, float(by_prompt.var(ddof=1)) - rest / runs) / prompts
    other = max(0.0, float(by_run.var(ddof=1)) - rest / prompts) / runs
    freedom = (prompts - 1) * (runs - 1)
    return [(own, prompts - 1), (other, runs - 1), (rest / (prompts * runs), freedom)]


def student(freedom: float) -> float:
    """The quantile of Student's t that leaves LEVEL between it and its negative."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _tails(middle, freedom) > 1 - LEVEL else (low, middle)
    return high


def _tails(t: float, freedom: float) -> float:
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


def _draws(cells: Cells, seed: int, draws: int) -> NDArray[np.float64]:
    """Means of resampled cells [draws]."""
    generator = np.random.default_rng(seed)
    size = max(1, PART // len(cells))
    parts = [_some(cells, generator, min(size, draws - at)) for at in range(0, draws, size)]
    return np.concatenate(parts)


def _some(cells: Cells, generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    n = len(cells)
    counts = generator.multinomial(n - 1, np.full(n, 1 / n), size=draws)
    means: NDArray[np.float64] = counts @ cells[:, 0] / (n - 1)
    return means
