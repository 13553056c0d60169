"""Rows to the micro-batches of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bvrank.data.loader import Order, Place
from bvrank.records import Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row


@dataclass(frozen=True)
class Stream:
    """protocols.Batches over encoded rows. `reference` holds a value per branch of each row (None:
    the objective needs none); `micro` examples make a micro-batch."""

    rows: Sequence[Encoded]
    reference: Sequence[np.ndarray] | None
    order: Order
    collate: Collator
    micro: int

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """The micro-batches of optimiser step `number` (1-based)."""
        places = list(self.order.step(number, self.rows))
        for start in range(0, len(places), self.micro):
            yield self.collate(
                [self._example(p) for p in places[start : start + self.micro]], views
            )

    def _example(self, places: Sequence[Place]) -> list[Row]:
        return [self.row(p.row, p.draw) for p in places]

    def row(self, number: int, draw: np.ndarray | None = None) -> Row:
        """Row `number` with its reference."""
        reference = None if self.reference is None else self.reference[number]
        return Row(self.rows[number], reference, draw)

    def once(self, views: tuple[str, ...], limit: int | None = None) -> Iterator[TokenBatch]:
        """Every row once, in file order, for held-out figures; at most `limit` rows."""
        numbers = range(len(self.rows))[:limit]
        for start in range(0, len(numbers), self.micro):
            part = numbers[start : start + self.micro]
            yield self.collate([[self.row(i, self._held_draw(i))] for i in part], views)

    def _held_draw(self, number: int) -> np.ndarray:
        """The same at every evaluation."""
        rng = np.random.default_rng((self.order.seed, 0, 0, number, 2))
        return rng.random(len(self.rows[number].branches))
