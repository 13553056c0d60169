"""Encoded rows on disk, read through a memory map: a million of them take a few bytes each.

ids.bin        int32   the ids of all segments, one after another
segments.bin   int64   end in ids.bin, and parent in its row, of every segment
branches.bin   int64   view, rank, answer, and end in scored.bin, of every branch
relevance.bin  float64 of every branch
scored.bin     int32   the segments of all branches
keys.bin       uint64  of every branch, as bvrank.scoring.reference.branch_keys has it
rows.bin       int64   end in segments, in branches, in where.bin; longest path; views as bits;
                       and the kind, equal in rows that an objective counts alike
where.bin      text    the addresses of all rows
shelf.json     names of the views
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Self, overload

import numpy as np

from bvrank.records import Branch, Encoded, Segment
from bvrank.scoring.reference import branch_keys

COLUMNS = {"segments": 2, "branches": 4, "rows": 6}
TYPES = {"ids": "<i4", "segments": "<i8", "branches": "<i8", "relevance": "<f8", "scored": "<i4",
         "keys": "<u8", "rows": "<i8", "where": "u1"}  # fmt: skip


class Writer:
    """Puts rows into a folder, one after another; `close` before they are read. As a context it
    lets go of its files whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {
            name: (folder / f"{name}.bin").open("wb") for name in TYPES
        }
        self._sizes = dict.fromkeys(TYPES, 0)
        self._views: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, rows: Iterable[Encoded]) -> None:
        """Appends rows."""
        for row in rows:
            self._add(row)

    def close(self) -> None:
        """Ends the files."""
        self.__exit__()
        told = {"views": list(self._views)}
        (self.folder / "shelf.json").write_text(json.dumps(told), encoding="utf-8")

    def _add(self, row: Encoded) -> None:
        views = [self._views.setdefault(b.view, len(self._views)) for b in row.branches]
        start = self._sizes["ids"]
        ends = start + np.cumsum([len(s.ids) for s in row.segments])
        self._put("ids", np.concatenate([s.ids for s in row.segments]))
        self._put("segments", np.stack([ends, [s.parent for s in row.segments]], 1))
        scored = self._sizes["scored"] + np.cumsum([len(b.segments) for b in row.branches])
        self._put("scored", np.concatenate([b.segments for b in row.branches]))
        told: list[Any] = [
            views,
            [b.rank for b in row.branches],
            [b.answer for b in row.branches],
            scored,
        ]
        self._put("branches", np.stack(told, 1))
        self._put("relevance", np.asarray([b.relevance for b in row.branches]))
        self._put("keys", np.asarray(branch_keys(row), np.uint64))
        self._put("where", np.frombuffer(row.where.encode("utf-8", "surrogatepass"), np.uint8))
        marks = sum(1 << view for view in set(views))
        size = self._sizes
        self._put("rows", np.asarray([[size["segments"], size["branches"], size["where"],
                                       row.longest, marks, _kind(row)]]))  # fmt: skip

    def _put(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(values.astype(TYPES[name]).tobytes())
        self._sizes[name] += len(values)


class Shelf(Sequence[Encoded]):
    """The rows of a folder, or the ones at `numbers` of them; `hold` is kept alive with it."""

    def __init__(self, folder: Path, numbers: np.ndarray | None = None, hold: Any = None) -> None:
        self.folder, self._hold = folder, hold
        self._data = {name: _mapped(folder, name) for name in TYPES}
        self._views = json.loads((folder / "shelf.json").read_text(encoding="utf-8"))["views"]
        every = np.arange(len(self._data["rows"]), dtype=np.int64)
        self.numbers = every if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...
    @overload
    def __getitem__(self, at: slice) -> Shelf: ...
    def __getitem__(self, at: int | slice) -> Encoded | Shelf:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        return self._row(int(self.numbers[at]))

    def take(self, numbers: Sequence[int] | np.ndarray) -> Shelf:
        """The rows at these places of this shelf."""
        made = object.__new__(Shelf)
        vars(made).update(vars(self))
        made.numbers = self.numbers[np.asarray(numbers, np.int64)]
        return made

    def has(self, view: str) -> np.ndarray:
        """bool [rows]: which rows have a branch of `view`."""
        if view not in self._views:
            return np.zeros(len(self), bool)
        bit = 1 << self._views.index(view)
        return np.asarray((self._data["rows"][self.numbers, 4] & bit) > 0)

    @property
    def alike(self) -> np.ndarray:
        """int64 [rows]: equal for rows whose branches have the same views, relevance and answers,
        in whatever order they were shown."""
        return np.asarray(self._data["rows"][self.numbers, 5])

    @property
    def longest(self) -> int:
        """The place of the row with the longest path."""
        return int(np.argmax(self._data["rows"][self.numbers, 3]))

    def all_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """The keys of all rows in one array, and int64 [rows] where each row's end."""
        stops = np.asarray(self._data["rows"][:, 1])
        starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)
        starts, stops = starts[self.numbers], stops[self.numbers]
        ends = np.cumsum(stops - starts)
        at = np.arange(ends[-1] if len(ends) else 0)
        at += np.repeat(starts - np.concatenate([[0], ends[:-1]]).astype(np.int64), stops - starts)
        return np.asarray(self._data["keys"][at], np.uint64), ends

    def where(self, number: int) -> str:
        """The address of a row."""
        return self._where(int(self.numbers[number]))

    def _row(self, number: int) -> Encoded:
        (a, b), (c, d) = self._span(number, 0), self._span(number, 1)
        data = self._data
        begin = int(data["segments"][a - 1, 0]) if a else 0
        segments = []
        for stop, parent in data["segments"][a:b].tolist():
            segments.append(Segment(parent, np.asarray(data["ids"][begin:stop])))
            begin = stop
        start = int(data["branches"][c - 1, 3]) if c else 0
        branches = []
        relevance = data["relevance"][c:d].tolist()
        told = data["branches"][c:d].tolist()
        for (view, rank, answer, stop), grade in zip(told, relevance, strict=True):
            own = tuple(data["scored"][start:stop].tolist())
            branches.append(Branch(self._views[view], own, grade, rank, answer))
            start = stop
        return Encoded(self._where(number), tuple(segments), tuple(branches))

    def _where(self, number: int) -> str:
        start, stop = self._span(number, 2)
        return bytes(self._data["where"][start:stop]).decode("utf-8", "surrogatepass")

    def _span(self, number: int, column: int) -> tuple[int, int]:
        rows = self._data["rows"]
        return int(rows[number - 1, column]) if number else 0, int(rows[number, column])


def has_view(rows: Sequence[Encoded], view: str) -> np.ndarray:
    """bool [rows]: which have a branch of `view`."""
    if isinstance(rows, Shelf):
        return rows.has(view)
    return np.asarray([any(b.view == view for b in row.branches) for row in rows], bool)


def longest_of(rows: Sequence[Encoded]) -> Encoded:
    """The row with the longest path."""
    return rows[rows.longest] if isinstance(rows, Shelf) else max(rows, key=lambda r: r.longest)


def taken(rows: Sequence[Encoded], numbers: Sequence[int] | np.ndarray) -> Sequence[Encoded]:
    """The rows at these places."""
    return rows.take(numbers) if isinstance(rows, Shelf) else [rows[int(i)] for i in numbers]


def _kind(row: Encoded) -> int:
    """A hash, so that a writer remembers nothing of the rows it wrote. Ranks are no part of it: of
    20 candidates in random order no two rows would be of one kind."""
    told = repr([(b.view, float(b.relevance), int(b.answer)) for b in row.branches])
    return int.from_bytes(blake2b(told.encode(), digest_size=8).digest(), "little", signed=True)


def _mapped(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.bin"
    shape: tuple[int, ...] = (-1, COLUMNS[name]) if name in COLUMNS else (-1,)
    if not path.stat().st_size:  # nothing can be mapped
        return np.zeros(0, TYPES[name]).reshape(shape if name in COLUMNS else 0)
    return np.memmap(path, TYPES[name], mode="r").reshape(shape)
