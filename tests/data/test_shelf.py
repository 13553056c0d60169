"""Rows come back from disk as they went in, and a shelf answers for all of them at once."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bvrank.data.shelf import Shelf, Writer, has_view, longest_of, taken
from bvrank.records import Branch, Encoded, Segment
from bvrank.scoring.reference import branch_keys
from tests.scoring.trees import marked, mixed


def shelf(folder: Path, rows: list[Encoded]) -> Shelf:
    writer = Writer(folder)
    for start in range(0, len(rows), 3):
        writer.add(rows[start : start + 3])
    writer.close()
    return Shelf(folder)


def assert_same(one: Encoded, other: Encoded) -> None:
    assert (one.where, one.branches) == (other.where, other.branches)
    assert [s.parent for s in one.segments] == [s.parent for s in other.segments]
    for a, b in zip(one.segments, other.segments, strict=True):
        assert a.ids.dtype == np.int32 and np.array_equal(a.ids, b.ids)


ROWS = [*mixed(0), *marked(1), *mixed(2)]


def test_every_row_comes_back(tmp_path: Path) -> None:
    found = shelf(tmp_path, ROWS)
    assert len(found) == len(ROWS)
    for one, other in zip(found, ROWS, strict=True):
        assert_same(one, other)
    assert_same(found[-1], ROWS[-1])
    with pytest.raises(IndexError):
        found[len(ROWS)]


@pytest.mark.parametrize("numbers", [[3, 1, 1, 0], [], list(range(5, 12))])
def test_a_part_of_a_shelf_is_a_shelf(numbers: list[int], tmp_path: Path) -> None:
    found = shelf(tmp_path, ROWS)
    part, listed = found.take(numbers), taken(ROWS, numbers)
    assert len(part) == len(listed)
    for at, other in enumerate(listed):
        assert_same(part[at], other)
        assert part.where(at) == other.where
    keys, ends = part.all_keys()
    assert keys.tolist() == [k for row in listed for k in branch_keys(row)]
    assert ends.tolist() == np.cumsum([len(row.branches) for row in listed]).tolist()
    sliced = part[1:3]
    assert [r.where for r in sliced] == [r.where for r in listed[1:3]]


def test_a_shelf_knows_views_and_the_longest_row_as_a_list_does(tmp_path: Path) -> None:
    found = shelf(tmp_path, ROWS)
    for view in ("full", "bare", "elsewhere"):
        assert has_view(found, view).tolist() == has_view(ROWS, view).tolist()
    assert longest_of(found).longest == longest_of(ROWS).longest
    assert has_view(found[4:9], "bare").tolist() == has_view(ROWS[4:9], "bare").tolist()


def test_rows_are_alike_when_branches_differ_in_tokens_and_order_alone(tmp_path: Path) -> None:
    found = shelf(tmp_path, ROWS)
    told = [tuple((b.view, b.relevance, b.answer) for b in r.branches) for r in ROWS]
    kinds = found.alike.tolist()
    for a, one in zip(kinds, told, strict=True):
        for b, other in zip(kinds, told, strict=True):
            assert (a == b) == (one == other)


def shuffled(count: int, items: int) -> list[Encoded]:
    """Lists whose candidates were shown in an order of their own each."""
    rng = np.random.default_rng(0)
    segments = tuple(Segment(-1 if k == 0 else 0, np.asarray([k], np.int32)) for k in range(9))
    return [
        Encoded(f"l:{n}", segments, tuple(
            Branch("full", (1 + k,), float(k == 0), int(rank), k)
            for k, rank in enumerate(rng.permutation(items) + 1)
        ))
        for n in range(count)
    ]  # fmt: skip


def test_shuffled_lists_are_of_one_kind_and_keep_their_order(tmp_path: Path) -> None:
    rows = shuffled(200, 8)
    found = shelf(tmp_path, rows)
    assert len({tuple(b.rank for b in r.branches) for r in rows}) > 190
    assert len(set(found.alike.tolist())) == 1
    assert [r.branches for r in found] == [r.branches for r in rows]


def test_a_writer_remembers_nothing_of_the_rows_it_wrote(tmp_path: Path) -> None:
    """Of lists with a relevance of their own each, so that every row is of another kind."""
    rows = [replace(r, branches=tuple(replace(b, relevance=n + b.relevance) for b in r.branches))
            for n, r in enumerate(shuffled(400, 8))]  # fmt: skip
    with Writer(tmp_path) as writer:
        writer.add(rows[:200])
        gc.collect()
        tracemalloc.start()
        writer.add(rows[200:])
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert kept < 30_000  # 200 kinds of 8 branches would be 100 kB


def test_no_row_is_an_empty_shelf(tmp_path: Path) -> None:
    found = shelf(tmp_path, [])
    assert len(found) == 0 and list(found) == [] and has_view(found, "full").tolist() == []


def test_an_address_may_be_any_text(tmp_path: Path) -> None:
    names = ["", "caf\u00e9.jsonl:1", "\ud800 half", "a\nb"]
    rows = [Encoded(n, ROWS[0].segments, ROWS[0].branches) for n in names]
    assert [r.where for r in shelf(tmp_path, rows)] == names
