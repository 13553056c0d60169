"""Encoded rows to a TokenBatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bvrank.records import Branch, Encoded, Preferences, TokenBatch
from bvrank.scoring.layout import Cost, Packing, Planted, lay_out


@dataclass(frozen=True)
class Row:
    """One tree of an example with its reference log-probs (float64, one per branch; None: unused)
    and its random numbers."""

    tree: Encoded
    reference: np.ndarray | None = None
    draw: np.ndarray | None = None

    def only(self, kept: Sequence[int]) -> Row:
        """With these of its branches."""
        tree = replace(self.tree, branches=tuple(self.tree.branches[i] for i in kept))
        return Row(tree, *(None if v is None else v[list(kept)]
                           for v in (self.reference, self.draw)))  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Unique tokens, tokens of the longest path, and branches; sizes add up."""

    unique: int = 0
    longest: int = 0
    branches: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.unique + other.unique, max(self.longest, other.longest),
                    self.branches + other.branches)  # fmt: skip


@dataclass(frozen=True)
class Collator:
    """Lays out examples. An example is one tree, or one tree per view (independent pairing)."""

    layout: Packing = "forest"
    cost: Cost = field(default_factory=Cost)
    unshifted: bool = False

    def labels(self, examples: Sequence[Sequence[Row]], views: Sequence[str]) -> Preferences:
        """All that is known of `examples` before a model has scored them."""
        return self._labelled(examples, views)[0].preferences()

    def size(self, example: Sequence[Row], views: Sequence[str]) -> Size:
        """Of an example."""
        return sum((_size(row.tree, views) for row in example), Size())

    def tokens(self, size: Size) -> int:
        """Tokens that examples of this size together put through the model, padding included
        (layout masked: but for what fills up its rows)."""
        return size.longest * size.branches if self.layout == "padded" else size.unique

    def __call__(self, examples: Sequence[Sequence[Row]], views: Sequence[str]) -> TokenBatch:
        """The micro-batch of `examples` with V = len(views), B = len(examples)."""
        labels, trees = self._labelled(examples, views)
        where = tuple(" + ".join(dict.fromkeys(r.tree.where for r in rows)) for rows in examples)
        rows = lay_out(trees, self.layout, self.cost, self.unshifted)
        return TokenBatch(rows, labels.preferences(), where, tuple(views))

    def _labelled(self, examples: Sequence[Sequence[Row]], views: Sequence[str]
                  ) -> tuple[_Labels, list[Planted]]:  # fmt: skip
        seats = [_seats(rows, views) for rows in examples]
        width = max((len(s) for example in seats for s in example), default=1) or 1
        labels = _Labels(len(views), len(examples), width)
        planted: dict[int, tuple[Encoded, list[Branch], list[int]]] = {}
        for b, example in enumerate(seats):
            for v, candidates in enumerate(example):
                for k, (row, number) in enumerate(candidates):
                    owner = labels.set(v, b, k, row, number)
                    entry = planted.setdefault(id(row), (row.tree, [], []))
                    entry[1].append(row.tree.branches[number])
                    entry[2].append(owner)
        trees = [Planted(tree, tuple(bs), tuple(os)) for tree, bs, os in planted.values()]
        return labels, trees


def _seats(rows: Sequence[Row], views: Sequence[str]) -> list[list[tuple[Row, int]]]:
    """For each view, the (row, branch number) of its candidates."""
    return [
        [(r, i) for r in rows for i, b in enumerate(r.tree.branches) if b.view == view]
        for view in views
    ]


def _size(tree: Encoded, views: Sequence[str]) -> Size:
    """Of the segments that branches of `views` need."""
    ends = [b.segments for b in tree.branches if b.view in views]
    if not ends:
        return Size()
    paths, own = tree.paths(), [len(s.ids) for s in tree.segments]
    lines = [max((paths[s] for s in segments), key=len) for segments in ends]
    unique = sum(own[s] for s in {s for line in lines for s in line})
    return Size(unique, max(sum(own[s] for s in line) for line in lines), len(ends))


class _Labels:
    """Fills everything of Preferences but the policy."""

    def __init__(self, v: int, b: int, k: int) -> None:
        self.shape = (v, b, k)
        self.reference, self.draw = np.zeros(self.shape), np.zeros(self.shape)
        self.relevance = np.zeros(self.shape, np.float32)
        self.rank, self.length, self.answer = (np.zeros(self.shape, np.int64) for _ in range(3))
        self.valid = np.zeros(self.shape, bool)

    def set(self, v: int, b: int, k: int, row: Row, number: int) -> int:
        branch, at = row.tree.branches[number], (v, b, k)
        self.relevance[at], self.rank[at], self.answer[at] = (
            branch.relevance, branch.rank, branch.answer,
        )  # fmt: skip
        self.length[at] = sum(len(row.tree.segments[s].ids) for s in branch.segments)
        self.valid[at] = True
        if row.reference is not None:
            self.reference[at] = row.reference[number]
        if row.draw is not None:
            self.draw[at] = row.draw[number]
        return int(np.ravel_multi_index(at, self.shape))

    def preferences(self) -> Preferences:
        arrays = {name: torch.from_numpy(a) for name, a in vars(self).items() if name != "shape"}
        return Preferences(policy=torch.zeros(self.shape, dtype=torch.float64), **arrays)
