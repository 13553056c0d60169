"""Which rows stand in which step: a pure function of (seed, step), so resume needs no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bvrank.data.shelf import has_view
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

    streams: tuple[np.ndarray, ...]
    seed: int
    batch: int

    def step(self, number: int, trees: Sequence[Encoded]) -> Iterator[tuple[Place, ...]]:
        """The `batch` examples of optimiser step `number` (1-based)."""
        for at in range((number - 1) * self.batch, number * self.batch):
            yield tuple(self._place(s, at, trees) for s in range(len(self.streams)))

    def drawn(self, steps: int) -> np.ndarray:
        """The rows that the first `steps` steps draw, in the order of their numbers."""
        parts = []
        for stream, numbers in enumerate(self.streams):
            order = _permutation(self.seed, stream, 0, len(numbers))
            parts.append(numbers[order[: steps * self.batch]])
        return np.unique(np.concatenate(parts))

    def _place(self, stream: int, at: int, trees: Sequence[Encoded]) -> Place:
        rows = self.streams[stream]
        turn, index = divmod(at, len(rows))
        row = int(rows[_permutation(self.seed, stream, turn, len(rows))[index]])
        rng = np.random.default_rng((self.seed, stream, turn, row, 1))
        return Place(stream, row, rng.random(len(trees[row].branches)))


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, stream, turn)).permutation(size)


def streams_of(trees: Sequence[Encoded], views: Sequence[str], *, independent: bool
               ) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Row numbers of the streams: all rows, or (independent pairing) the rows of each view."""
    if not independent:
        return (np.arange(len(trees)),)
    return tuple(np.flatnonzero(has_view(trees, v)) for v in views)
