"""Estimates with their uncertainty: means over prompts and seeds, paired differences, power.

A figure is a mean of cells [P,R]: P prompts, R runs (seeds) of one configuration, every prompt in
every run. Prompts and runs are both samples of something larger, so both are resampled: the
pigeonhole bootstrap (Owen, 2007), which draws n - 1 of n units, so that its variance is unbiased
however few there are (Rao and Wu, 1988). Of a single run only the prompts are resampled: what
another training would give, nobody can say from it.
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
    found = _draws(cells, seed, draws)
    value, (prompts, runs) = float(cells.mean()), cells.shape
    if prompts < 2:
        return Estimate(value, math.nan, (math.nan, math.nan), prompts, runs)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = _stderr(cells) if runs == 1 else float(found.std())
    return Estimate(value, error, (float(low), float(high)), prompts, runs)


def difference(a: Cells, b: Cells, seed: int = 0, draws: int = DRAWS) -> Difference:
    """Of `b` over `a`, paired by prompt; by run too where both have as many (runs that share a
    seed), else each by the mean of its runs. ValueError where the prompts are not the same ones."""
    a, b = _checked(a), _checked(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} prompts against {len(b)}")
    cells = b - a if a.shape == b.shape else (b.mean(1) - a.mean(1))[:, None]
    found = _draws(cells, seed, draws)
    below, above = (found <= 0).sum(), (found >= 0).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + draws)) if len(cells) > 1 else math.nan
    return Difference(estimate(cells, seed, draws), float(p))


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


def _stderr(cells: Cells) -> float:
    return float(cells[:, 0].std(ddof=1) / math.sqrt(len(cells)))


def _draws(cells: Cells, seed: int, draws: int) -> NDArray[np.float64]:
    """Means of resampled cells [draws]."""
    generator = np.random.default_rng(seed)
    size = max(1, PART // len(cells))
    parts = [_some(cells, generator, min(size, draws - at)) for at in range(0, draws, size)]
    return np.concatenate(parts)


def _some(cells: Cells, generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    rows, columns = (_weights(n, draws, generator) for n in cells.shape)
    means: NDArray[np.float64] = ((rows @ cells) * columns).sum(1)
    return means


def _weights(units: int, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How often each unit is drawn [draws,units], as a share; a single one always."""
    if units == 1:
        return np.ones((draws, 1))
    found = generator.multinomial(units - 1, np.full(units, 1 / units), size=draws)
    return found / (units - 1)
