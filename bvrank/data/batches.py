"""Rows to the micro-batches of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from bvrank.data.cutting import Groups, dealt, slices, within
from bvrank.data.loader import Order, Place
from bvrank.records import Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row, Size


@dataclass(frozen=True)
class Stream:
    """protocols.Batches over encoded rows. `reference` holds a value per branch of each row (None:
    the objective needs none); `micro` examples make a micro-batch, or as many as put at most
    `budget` tokens through the model. Micro-batches go round the ranks, and `rank` of `world` takes
    its own. `one_pair`: of a row's candidates only the first best and the first worst of each view
    are laid out."""

    rows: Sequence[Encoded]
    reference: Sequence[np.ndarray] | None
    order: Order
    collate: Collator
    micro: int
    rank: int = 0
    world: int = 1
    budget: int | None = None
    one_pair: bool = False

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """This rank's micro-batches of optimiser step `number` (1-based); as many on every rank,
        the last one perhaps of rows that do not count."""
        examples = [self._example(p) for p in self.order.step(number, self.rows)]
        for group in self._groups(examples, views)[self.rank :: self.world]:
            if group:
                yield self.collate([examples[i] for i in group], views)
            else:
                yield _uncounted(self.collate(examples[:1], views))

    def _groups(self, examples: Sequence[Sequence[Row]], views: tuple[str, ...]) -> Groups:
        if self.budget is None and self.world == 1:
            return slices(len(examples), self.micro)
        sizes = [self.collate.size(e, views) for e in examples]
        if self.budget is None:
            return dealt(list(map(self.collate.tokens, sizes)), self.micro, self.world)
        return within(sizes, self.collate.tokens, self.budget, self.world)

    def _example(self, places: Sequence[Place]) -> list[Row]:
        return [self.row(p.row, p.draw) for p in places]

    def row(self, number: int, draw: np.ndarray | None = None) -> Row:
        """Row `number` with its reference."""
        reference = None if self.reference is None else self.reference[number]
        row = Row(self.rows[number], reference, draw)
        return paired(row) if self.one_pair else row

    def once(self, views: tuple[str, ...], limit: int | None = None) -> Iterator[TokenBatch]:
        """Every row once, in file order, for held-out figures; at most `limit` rows. Ranks get as
        many micro-batches each, the last ones perhaps of rows that do not count."""
        waiting: list[list[list[Row]]] = []
        first: list[list[Row]] = []
        for part in self._parts(len(self.rows[:limit]), views):
            first, waiting = first or part, [*waiting, part]
            if len(waiting) == self.world:
                yield self.collate(waiting[self.rank], views)
                waiting = []
        if waiting:
            mine = self.rank < len(waiting)
            batch = self.collate(waiting[self.rank] if mine else first, views)
            yield batch if mine else _uncounted(batch)

    def _parts(self, count: int, views: tuple[str, ...]) -> Iterator[list[list[Row]]]:
        """Rows one after another, in micro-batches."""
        part: list[list[Row]] = []
        size = Size()
        for number in range(count):
            row = [self.row(number, self._held_draw(number))]
            own = Size() if self.budget is None else self.collate.size(row, views)
            if part and self._full(len(part), size + own):
                yield part
                part, size = [], Size()
            part.append(row)
            size += own
        if part:
            yield part

    def _full(self, examples: int, with_next: Size) -> bool:
        if self.budget is None:
            return examples == self.micro
        return self.collate.tokens(with_next) > self.budget

    def _held_draw(self, number: int) -> np.ndarray:
        """The same at every evaluation."""
        rng = np.random.default_rng((self.order.seed, 0, 0, number, 2))
        return rng.random(len(self.rows[number].branches))


class Ahead:
    """protocols.Batches that lays out the next step while the current one computes. A step is a
    function of its number and views: what was laid out for others is left lying."""

    def __init__(self, batches: Stream) -> None:
        self.batches = batches
        self._thread = ThreadPoolExecutor(1, "batches")
        self._next: tuple[tuple[int, tuple[str, ...]], Future[list[TokenBatch]]] | None = None

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`; an error of the thread is raised here."""
        expected, self._next = self._next, None
        if expected is not None and expected[0] == (number, views):
            found = expected[1].result()
        else:
            found = self._made(number, views)
        coming = (number + 1, views)
        self._next = (coming, self._thread.submit(self._made, *coming))
        return iter(found)

    def once(self, views: tuple[str, ...], limit: int | None = None) -> Iterator[TokenBatch]:
        """As of `batches`."""
        return self.batches.once(views, limit)

    def _made(self, number: int, views: tuple[str, ...]) -> list[TokenBatch]:
        return [_pinned(batch) for batch in self.batches.step(number, views)]


def _pinned(batch: TokenBatch) -> TokenBatch:
    """In memory that a GPU can fetch from while it computes, where there is one."""
    return batch.pinned() if torch.cuda.is_available() else batch


def paired(row: Row) -> Row:
    """The row with the first best and the first worst candidate of each view alone."""
    grades = np.asarray([b.relevance for b in row.tree.branches], np.float32)  # as labels have them
    ends: dict[str, tuple[int, int]] = {}
    for i, branch in enumerate(row.tree.branches):
        best, worst = ends.get(branch.view, (i, i))
        ends[branch.view] = (i if grades[i] > grades[best] else best,
                             i if grades[i] < grades[worst] else worst)  # fmt: skip
    kept = sorted({i for both in ends.values() for i in both})
    return row if len(kept) == len(grades) else row.only(kept)


def _uncounted(batch: TokenBatch) -> TokenBatch:
    """The batch with every candidate absent: it goes through the model and adds nothing."""
    labels = replace(batch.labels, valid=torch.zeros_like(batch.labels.valid))
    rows = tuple(replace(row, tokens=0) for row in batch.rows)
    return replace(batch, labels=labels, rows=rows, where=())
