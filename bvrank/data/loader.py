"""Which rows stand in which step: a pure function of (seed, step), so resume needs no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bvrank.records import Encoded


@dataclass(frozen=True)
class Place:
    """One row drawn in one pass over its stream, with the numbers an objective may draw from."""

    stream: int
    row: int
    draw: np.ndarray  # float64 [branches]


@dataclass(frozen=True)
class Order:
    """Passes over the rows, each in a permutation of its own.

    `streams` holds row numbers. One stream: every example is one tree. Several (independent
    pairing): an example takes one row of each stream, and each stream has its own passes.
    """

    streams: tuple[tuple[int, ...], ...]
    seed: int
    batch: int

    def step(self, number: int, trees: Sequence[Encoded]) -> Iterator[tuple[Place, ...]]:
        """The `batch` examples of optimiser step `number` (1-based)."""
        for at in range((number - 1) * self.batch, number * self.batch):
            yield tuple(self._place(s, at, trees) for s in range(len(self.streams)))

    def drawn(self, steps: int) -> set[int]:
        """The rows that the first `steps` steps draw."""
        rows: set[int] = set()
        for stream, numbers in enumerate(self.streams):
            whole, rest = divmod(steps * self.batch, len(numbers))
            if whole:
                rows |= set(numbers)
                continue
            order = _permutation(self.seed, stream, 0, len(numbers))
            rows |= {numbers[i] for i in order[:rest]}
        return rows

    def _place(self, stream: int, at: int, trees: Sequence[Encoded]) -> Place:
        rows = self.streams[stream]
        turn, index = divmod(at, len(rows))
        row = rows[_permutation(self.seed, stream, turn, len(rows))[index]]
        rng = np.random.default_rng((self.seed, stream, turn, row, 1))
        return Place(stream, row, rng.random(len(trees[row].branches)))


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, stream, turn)).permutation(size)


def streams_of(trees: Sequence[Encoded], views: Sequence[str], *, independent: bool
               ) -> tuple[tuple[int, ...], ...]:  # fmt: skip
    """Row numbers of the streams: all rows, or (independent pairing) the rows of each view."""
    if not independent:
        return (tuple(range(len(trees))),)
    return tuple(
        tuple(i for i, t in enumerate(trees) if any(b.view == v for b in t.branches)) for v in views
    )
