"""Rows to the micro-batches of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bvrank.data.loader import Order, Place
from bvrank.records import Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row


@dataclass(frozen=True)
class Stream:
    """protocols.Batches over encoded rows. `reference` holds a value per branch of each row (None:
    the objective needs none); `micro` examples make a micro-batch. Micro-batches go round the
    ranks, and `rank` of `world` takes its own."""

    rows: Sequence[Encoded]
    reference: Sequence[np.ndarray] | None
    order: Order
    collate: Collator
    micro: int
    rank: int = 0
    world: int = 1

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """This rank's micro-batches of optimiser step `number` (1-based)."""
        places = list(self.order.step(number, self.rows))
        for start in range(self.rank * self.micro, len(places), self.world * self.micro):
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
        """Every row once, in file order, for held-out figures; at most `limit` rows. Ranks get as
        many micro-batches each, the last ones perhaps of rows that do not count."""
        numbers = range(len(self.rows))[:limit]
        parts = [numbers[i : i + self.micro] for i in range(0, len(numbers), self.micro)]
        for turn in range(0, len(parts), self.world):
            mine = turn + self.rank
            part = parts[min(mine, len(parts) - 1)]
            batch = self.collate([[self.row(i, self._held_draw(i))] for i in part], views)
            yield batch if mine < len(parts) else _uncounted(batch)

    def _held_draw(self, number: int) -> np.ndarray:
        """The same at every evaluation."""
        rng = np.random.default_rng((self.order.seed, 0, 0, number, 2))
        return rng.random(len(self.rows[number].branches))


def _uncounted(batch: TokenBatch) -> TokenBatch:
    """The batch with every candidate absent: it goes through the model and adds nothing."""
    labels = replace(batch.labels, valid=torch.zeros_like(batch.labels.valid))
    rows = tuple(replace(row, tokens=0) for row in batch.rows)
    return replace(batch, labels=labels, rows=rows, where=())
