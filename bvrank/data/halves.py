"""Examples for a measurement, in groups, and the traces of their answers in two halves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bvrank.data.cutting import slices, within
from bvrank.data.loader import Order
from bvrank.data.shelf import Shelf
from bvrank.records import Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row, Size

Group = list[list[Row]]  # examples


@dataclass(frozen=True)
class Halves:
    """The rows of a phase: `order` draws them, `groups` of them are made, and each is laid out view
    by view. Forwards hold at most `micro` examples, or as many as put at most `budget` tokens
    through the model. `traced`: views of which every row has two answers, two traces each."""

    rows: Sequence[Encoded]
    reference: Sequence[np.ndarray] | None
    order: Order
    collate: Collator
    groups: int
    micro: int
    budget: int | None = None
    traced: tuple[str, ...] = ()

    def phase(self, number: int) -> list[Group]:
        """The groups before step `number` (1-based), equally large; the same on every rank."""
        examples = [[self._row(p.row, p.draw) for p in places]
                    for places in self.order.step(number, self.rows)]  # fmt: skip
        size = len(examples) // self.groups
        return [examples[g * size : (g + 1) * size] for g in range(self.groups)]

    def forwards(self, group: Group, view: str, half: int | None) -> Iterator[TokenBatch]:
        """A group's micro-batches of one view, with one half of its traces (None: with all)."""
        cut = [_cut(example, view, half) for example in group]
        sizes = [self.collate.size(e, (view,)) for e in cut]
        for part in self._parts(sizes):
            yield self.collate([cut[i] for i in part], (view,))

    def tokens(self, group: Group, view: str, half: int | None) -> int:
        """Of a group's forwards, an example at a time."""
        cut = [_cut(example, view, half) for example in group]
        return sum(self.collate.tokens(self.collate.size(e, (view,))) for e in cut)

    def _parts(self, sizes: Sequence[Size]) -> list[list[int]]:
        if self.budget is None:
            return slices(len(sizes), self.micro)
        return within(sizes, self.collate.tokens, self.budget, 1)

    def _row(self, number: int, draw: np.ndarray) -> Row:
        reference = None if self.reference is None else self.reference[number]
        return Row(self.rows[number], reference, draw)


def _cut(example: list[Row], view: str, half: int | None) -> list[Row]:
    return example if half is None else [halved(row, view, half) for row in example]


def halved(row: Row, view: str, half: int) -> Row:
    """The row with half 0 or 1 of the traces of each answer of `view`: every other one, as many in
    one as in the other; an odd one is left out."""
    kept = [i for own in _answers(row.tree, view) for i in own[half : len(own) // 2 * 2 : 2]]
    return row.only(kept)


def traces(tree: Encoded, view: str) -> list[int]:
    """How many traces each answer of `view` has."""
    return [len(own) for own in _answers(tree, view)]


def traced(rows: Sequence[Encoded], view: str) -> np.ndarray:
    """bool [rows]: which have two answers in `view`, one better, and two traces of each."""
    if isinstance(rows, Shelf):
        _, first, place = np.unique(rows.alike, return_index=True, return_inverse=True)
        return np.asarray([_traced(row, view) for row in rows.take(first)], bool)[place]
    return np.asarray([_traced(row, view) for row in rows], bool)


def _traced(tree: Encoded, view: str) -> bool:
    own = _answers(tree, view)
    grades = {tree.branches[i].relevance for answer in own for i in answer}
    return len(own) == 2 and len(grades) == 2 and min(map(len, own)) >= 2


def _answers(tree: Encoded, view: str) -> list[list[int]]:
    """The branches of each answer of `view`, in their order."""
    found: dict[int, list[int]] = {}
    for number, branch in enumerate(tree.branches):
        if branch.view == view:
            found.setdefault(branch.answer, []).append(number)
    return list(found.values())
