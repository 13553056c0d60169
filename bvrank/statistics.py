"""Estimates with their uncertainty: means over prompts and seeds, paired differences, power.

A figure is a mean of cells [P,R]: P prompts, R runs (seeds) of one configuration, every prompt in
every run. Of one run with many prompts, the interval is the percentile bootstrap over prompts,
which draws n - 1 of n, so that its variance is unbiased (Rao and Wu, 1988). Of few prompts, or of
several runs, it is Student's: the variance of the mean by the components of a crossed design
(prompts, runs, the rest), with Satterthwaite's degrees of freedom. Prompts that are all alike show
no scatter and are no certainty: with n of them, a share of up to u = 1 - 0.025^(1/n) of all others
may be different and unseen (Clopper and Pearson, 1934), and the interval is what the mean is where
these lie at either bound. p-values go with the intervals, but where the differences of single runs
have one size, or few of many prompts differ: there they are exact, by their signs (see signs.py),
and larger. None is below 2^(1 - m), that of the m prompts that differ, and no interval leaves 0 out
where p is 0.05 or more.
Intervals end at the bounds of what is measured. A single run says nothing of what another training
would give, and two say little: their interval covers in 84 % of cases where runs differ as much as
prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bvrank.signs import ALIKE, differing, one_size, p_value
from bvrank.student import LEVEL, student, tails

Cells = NDArray[np.float64]  # [P,R]
Bounds = tuple[float, float] | None  # of a value, where it has any
T = TypeVar("T")
DRAWS = 10_000
PART = 2_000_000  # drawn counts in memory at a time
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


def estimate(cells: Cells, seed: int = 0, draws: int = DRAWS, bounds: Bounds = None) -> Estimate:
    """The mean of cells [P,R]; `bounds`: of a value, as (0, 1) of a share, which count where no
    cell is beyond them. ValueError for no cells, or for one that is no finite number."""
    cells = _checked(cells)
    bounds, value = _holding(bounds, cells), float(cells.mean())
    return _estimated([cells], cells.shape[1], seed, draws, bounds, bounds or (value, value))


def difference(
    a: Cells, b: Cells, seed: int = 0, draws: int = DRAWS, bounds: Bounds = None
) -> Difference:
    """Of `b` over `a`, paired by prompt, and by run where both have as many (runs that share a
    seed); else their runs are independent of each other, and a single one says nothing of others.
    `bounds`: of a value of either. Where all differences are the same one and values have no
    bounds, unseen ones are taken to reach as far the other way. ValueError where the prompts are
    not the same ones."""
    a, b = _checked(a), _checked(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} prompts against {len(b)}")
    parts = _gaps(a, b)
    held = _holding(bounds, np.concatenate([a.ravel(), b.ravel()]))
    reach = None if held is None else (held[0] - held[1], held[1] - held[0])
    size, runs = abs(float(parts[0].mean())), min(a.shape[1], b.shape[1])
    found = _estimated(parts, runs, seed, draws, reach, reach or (-size, size))
    p, (low, high) = _p(parts, found, seed, draws), found.interval
    if p >= 1 - LEVEL:  # the test, which may be the surer one, does not rule 0 out
        found = replace(found, interval=(min(low, 0.0), max(high, 0.0)))
    return Difference(found, p)


def _estimated(parts: Sequence[Cells], runs: int, seed: int, draws: int, bounds: Bounds,
               far: tuple[float, float]) -> Estimate:  # fmt: skip
    """Of the mean of the first part: see `_spread`; `far`: how far unseen values may reach."""
    cells = parts[0]
    value, prompts = float(cells.mean()), len(cells)
    if prompts < 2:
        return Estimate(value, math.nan, (math.nan, math.nan), prompts, runs)
    spread = _spread(parts)
    interval = spread.interval(value)
    if spread.none(value):
        interval = unseen(value, prompts, far)
    elif _resampled(parts):
        low, high = np.quantile(_draws(cells, seed, draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        interval = float(low), float(high)
    return Estimate(value, spread.stderr, _within(interval, bounds), prompts, runs)


def _resampled(parts: Sequence[Cells]) -> bool:
    return len(parts) == 1 and parts[0].shape[1] == 1 and len(parts[0]) >= MANY


def _gaps(a: Cells, b: Cells) -> list[Cells]:
    """b - a, and beside it what its variance is made of: see `_spread`."""
    if a.shape == b.shape:
        return [b - a]
    gaps = (b.mean(1) - a.mean(1))[:, None]
    return [gaps, *(x for x in (a, b) if x.shape[1] > 1)]


def _p(parts: Sequence[Cells], found: Estimate, seed: int, draws: int) -> float:
    if found.prompts < 2:
        return math.nan
    apart = differing(parts[0].mean(1))
    single = len(parts) == 1 and parts[0].shape[1] == 1
    if single and (one_size(apart) or len(apart) < MANY <= found.prompts):
        return p_value(apart, seed, draws)
    spread, least = _spread(parts), _least(found.value, len(apart))
    if not _resampled(parts) or spread.none(found.value):
        return max(spread.p(found.value), least)
    drawn = _draws(parts[0], seed, draws)
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return max(min(1.0, float(2 * (1 + tail) / (1 + draws))), least)


def _least(value: float, apart: int) -> float:
    """The smallest p-value of a test by signs: that of all pairs that differ on one side."""
    return 1.0 if abs(value) <= ALIKE else min(1.0, float(2.0 ** (1 - apart)))


def unseen(value: float, prompts: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """The interval of a mean of values that are all alike. Of a share that is 0 or 1 it is that of
    Clopper and Pearson."""
    share = 1 - ((1 - LEVEL) / 2) ** (1 / prompts)
    low, high = bounds
    return value - share * (value - low), value + share * (high - value)


def _holding(bounds: Bounds, cells: Cells) -> Bounds:
    """The bounds, where all cells are within: a fitted figure's may not be."""
    holds = bounds and bounds[0] - ALIKE <= cells.min() and cells.max() <= bounds[1] + ALIKE
    return bounds if holds else None


def _within(interval: tuple[float, float], bounds: Bounds) -> tuple[float, float]:
    low, high = interval
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))


def holm(values: Mapping[T, float]) -> dict[T, float]:
    """p-values, adjusted so that the chance of any false finding among them stays below the level
    (Holm, 1979). NaN stays NaN, and counts as no test."""
    tests = sorted((k for k in values if not math.isnan(values[k])), key=lambda k: values[k])
    adjusted, highest = dict(values), 0.0
    for rank, key in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * values[key]))
        adjusted[key] = highest
    return adjusted


def needed(cells: Cells, gain: float, arms: int = 1) -> int | None:
    """How many prompts show a true `gain` in four of five tries (power 0.8, two-sided 0.05), when
    they scatter as these do: over a fixed value, or in each of two `arms` that are independent of
    each other, whose variances add. None where nothing is known of scatter."""
    cells = _checked(cells)
    if len(cells) < 2:
        return None
    return _enough(arms * float(cells.mean(1).var(ddof=1)), 0.0, gain)


def needed_between(a: Cells, b: Cells, gain: float) -> int | None:
    """The same for a `difference` of as many runs on other prompts; None too where the scatter over
    runs alone hides the gain, whatever the number of prompts."""
    a, b = _checked(a), _checked(b)
    parts = _gaps(a, b)
    if len(a) < 2:
        return None
    every, runs = _variances(parts)
    return _enough(len(a) * (every - runs), runs, gain)


def of_runs(a: Cells, b: Cells) -> float:
    """The share of the variance of `difference` that runs add: more prompts leave it as it is."""
    parts = _gaps(_checked(a), _checked(b))
    every, runs = _variances(parts) if len(parts[0]) > 1 else (0.0, 0.0)
    return runs / every if every else 0.0


def _variances(parts: Sequence[Cells]) -> tuple[float, float]:
    """Of a mean: all of it, and what runs add."""
    terms = [_components(part) for part in parts]
    runs = sum(v for found in terms for v, _ in found[1:2])
    return sum(v for v, _ in (*terms[0][:1], *terms[0][2:])) + runs, runs


def _enough(prompt: float, fixed: float, gain: float) -> int | None:
    left = (gain / (Z_LEVEL + Z_POWER)) ** 2 - fixed
    return max(2, math.ceil(prompt / left)) if left > 0 and prompt > 0 else None


def pass_at(right: int, drawn: int, k: int) -> float:
    """The unbiased estimate that one of `k` samples is right (Chen et al., 2021, equation 1).
    ValueError for fewer samples than k."""
    if not 1 <= k <= drawn:
        raise ValueError(f"pass@{k} of {drawn} samples")
    return 1.0 - math.comb(drawn - right, k) / math.comb(drawn, k)


def majority(votes: Sequence[T], right: Sequence[float]) -> float:
    """Whether the most frequent vote is right, its share where several are as frequent; `right[i]`
    belongs to `votes[i]`, the mean where one vote has several. 0.0 of no votes."""
    counts: dict[T, int] = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    most = max(counts.values(), default=0)
    sums = dict.fromkeys(counts, 0.0)
    for vote, score in zip(votes, right, strict=True):
        sums[vote] += score
    best = [sums[vote] / count for vote, count in counts.items() if count == most]
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

    def none(self, value: float) -> bool:
        """Whether there is no scatter at all, but for rounding."""
        return self.stderr <= ALIKE * max(1.0, abs(value))

    def p(self, value: float) -> float:
        if self.none(value):
            return 1.0 if abs(value) <= ALIKE else 0.0
        return tails(value / self.stderr, self.freedom)


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
