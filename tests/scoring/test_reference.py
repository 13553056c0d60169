"""A reference value is computed once, and is the same however the store came by it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bvrank.errors import RunError
from bvrank.records import Branch, Encoded, TokenBatch
from bvrank.scoring import reference, values
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.reference import Reference, ReferenceStore, branch_keys, model_digest
from bvrank.scoring.scorer import Scorer
from tests.scoring.trees import marked, mixed, pair_tree
from tests.small import model

COLLATE = Collator("forest", Cost(1.0, 0.0))
SCORER = Scorer(model(torch.float32)).eval()


@pytest.fixture(autouse=True)
def _partitions_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "PARTITION", 4)
    monkeypatch.setattr(reference, "BUDGET", 120)


def score(batch: TokenBatch) -> Tensor:
    with torch.no_grad():
        return SCORER(batch)


def never(batch: TokenBatch) -> Tensor:
    raise AssertionError("scored again")


def fill(folder: Path, rows: list[Encoded], by: Callable[[TokenBatch], Tensor] = score,
         identity: str = "model") -> Reference:  # fmt: skip
    return ReferenceStore(folder, identity).fill(rows, by, COLLATE)


def assert_equal(one: Reference, two: Reference) -> None:
    assert one.digest == two.digest
    for a, b in zip(one.values, two.values, strict=True):
        assert a.dtype == np.float64 and np.array_equal(a, b)


def test_values_are_the_scorers_in_branch_order(tmp_path: Path) -> None:
    rows = mixed(0)
    for row, own in zip(rows, fill(tmp_path, rows).values, strict=True):
        for branch, value in zip(row.branches, own, strict=True):
            alone = replace(row, branches=(branch,))
            expected = float(SCORER(COLLATE([[Row(alone)]], (branch.view,))).detach())
            assert value == pytest.approx(expected, abs=1e-4)


def test_a_second_fill_computes_nothing_and_is_bit_equal(tmp_path: Path) -> None:
    rows = mixed(1)
    first = fill(tmp_path, rows)
    again = fill(tmp_path, rows, never)
    assert_equal(first, again)
    assert (first.computed, first.found) == (len(rows), 0)
    assert (again.computed, again.found) == (0, len(rows))
    store = ReferenceStore(tmp_path, "model")
    assert_equal(store.fill(rows, never, COLLATE), store.fill(rows[:], never, COLLATE))


def test_another_identity_misses(tmp_path: Path) -> None:
    rows = mixed(1)
    fill(tmp_path, rows)
    with pytest.raises(AssertionError, match="scored again"):
        fill(tmp_path, rows, never, identity="another")


def test_new_rows_alone_are_computed(tmp_path: Path) -> None:
    rows = mixed(1)
    fill(tmp_path, rows[:4])
    assert fill(tmp_path, rows).computed == len(rows) - 4


def test_a_key_does_not_depend_on_the_views_encoded_together() -> None:
    for seed in range(5):
        for tree in marked(seed):
            both = dict(zip(tree.branches, branch_keys(tree), strict=True))
            full = tuple(b for b in tree.branches if b.view == "full")
            assert branch_keys(replace(tree, branches=full)) == [both[b] for b in full]


def test_full_alone_then_with_bare_keeps_the_values_of_full(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    both = [pair_tree(rng, prompt=5, answers=[3, 4]) for _ in range(6)]
    full = [replace(t, branches=tuple(b for b in t.branches if b.view == "full")) for t in both]
    alone, together = fill(tmp_path, full), fill(tmp_path, both)
    for a, b in zip(alone.values, together.values, strict=True):
        assert np.array_equal(a, b[:2])
    assert_equal(fill(tmp_path, full, never), alone)


def test_keys_tell_ids_and_what_is_scored_apart_but_not_how_segments_are_cut() -> None:
    base = [s for s in marked(0)[0].segments[:1]]
    one = np.arange(1, 6, dtype=np.int32)
    cut = [replace(base[0], ids=one[:2]), replace(base[0], parent=0, ids=one[2:])]
    finer = [*cut[:1], replace(cut[1], ids=one[2:3]), replace(base[0], parent=1, ids=one[3:])]

    def key(segments: list[object], scored: tuple[int, ...]) -> int:
        branch = Branch("full", scored, 0.0, 1, 0)
        return branch_keys(Encoded("", tuple(segments), (branch,)))[0]  # type: ignore[arg-type]

    assert key(cut, (1,)) == key(finer, (1, 2))
    assert len({key(cut, (1,)), key(finer, (2,)), key(finer, (1,))}) == 3
    other = [cut[0], replace(cut[1], ids=one[2:] + 1)]
    assert key(other, (1,)) != key(cut, (1,))


def test_a_key_ignores_relevance_rank_view_and_address() -> None:
    tree = marked(1)[0]
    renamed = replace(tree, where="elsewhere", branches=tuple(
        replace(b, relevance=9.0, rank=9, view="bare", answer=9) for b in tree.branches
    ))  # fmt: skip
    assert branch_keys(renamed) == branch_keys(tree)


@pytest.mark.parametrize("forwards", range(1, 5))
def test_a_fill_cut_short_and_done_again_is_bit_equal(forwards: int, tmp_path: Path) -> None:
    """The score fails after some forwards, most of them in the middle of a partition."""
    rows = mixed(2)
    calls: list[int] = []

    def counts(batch: TokenBatch) -> Tensor:
        calls.append(len(batch.where))
        return score(batch)

    def breaks(batch: TokenBatch) -> Tensor:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return score(batch)

    whole = fill(tmp_path / "whole", rows, counts)
    left = [0] * forwards
    assert len(calls) > forwards and max(calls) > 1
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "cut", rows, breaks)
    done = sum(n % 4 == 0 for n in np.cumsum(calls[:forwards]))
    assert len(entries(tmp_path / "cut")) == done  # whole partitions alone, nothing half-written
    again = fill(tmp_path / "cut", rows)
    assert_equal(whole, again)
    assert again.computed == len(rows) - 4 * done


def test_equal_branches_share_one_value(tmp_path: Path) -> None:
    rows = mixed(3)
    turned = rows[::-1]  # other batch mates, so that float noise would differ
    forth = fill(tmp_path, [*rows, *turned])
    for a, b in zip(forth.values, forth.values[::-1], strict=True):
        assert np.array_equal(a, b)
    assert forth.computed < len(forth.values)


def test_a_key_keeps_the_value_it_has_when_new_ones_come_with_it(tmp_path: Path) -> None:
    calls = iter(range(100))

    def drifts(batch: TokenBatch) -> Tensor:
        return score(batch) - next(calls)

    rows = mixed(0)
    store = ReferenceStore(tmp_path, "model")
    first = store.fill(rows[:1], drifts, COLLATE).values[0]
    with_new = store.fill(rows[:2], drifts, COLLATE).values[0]
    read_again = fill(tmp_path, rows[:3], drifts).values[0]
    assert np.array_equal(first, with_new) and np.array_equal(first, read_again)


def test_rows_drawn_by_another_seed_are_computed_once_too(tmp_path: Path) -> None:
    rows = mixed(1)
    some, others = rows[::2], rows[1:6]
    first = fill(tmp_path, some)
    second = fill(tmp_path, others)
    new = [r for r in others if all(r is not s for s in some)]
    assert (first.computed, second.computed) == (len(some), len(new))
    every = fill(tmp_path, rows)
    assert first.computed + second.computed + every.computed == len(rows)
    assert_equal(fill(tmp_path, some, never), first)


SAME = """
import sys, time
from pathlib import Path
import numpy as np
from bvrank.scoring.values import KeyedFiles
folder, number = Path(sys.argv[1]), int(sys.argv[2])
for part in range(40):
    files = KeyedFiles(folder)
    keys = np.arange(part * 50, part * 50 + 100, dtype=np.uint64)
    known, values = files.look_up(keys)
    assert np.array_equal(values[known], -keys[known].astype(float)), "another's value was torn"
    files.add(keys[~known], -keys[~known].astype(float))
"""


def test_processes_that_fill_and_merge_one_folder_at_once_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", SAME.replace("import numpy", "import bvrank.scoring"
                          ".values as v; v.MANY = 5; import numpy"), str(tmp_path), str(n)])
        for n in range(3)
    ]  # fmt: skip
    assert [process.wait(120) for process in running] == [0, 0, 0]
    files = values.KeyedFiles(tmp_path)
    keys = np.arange(2050, dtype=np.uint64)
    known, found = files.look_up(keys)
    assert known.all() and np.array_equal(found, -keys.astype(float)) and not files.damaged


def test_many_files_become_one_and_who_has_the_old_ones_goes_on_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mixed(1)
    for at in range(len(rows)):
        whole = fill(tmp_path, rows[: at + 1])
    before = ReferenceStore(tmp_path, "model")
    assert len(entries(tmp_path)) == len(rows)
    monkeypatch.setattr(values, "MANY", 3)
    assert_equal(fill(tmp_path, rows, never), whole)
    assert len(entries(tmp_path)) == 1
    assert_equal(before.fill(rows, never, COLLATE), whole)
    assert_equal(fill(tmp_path, rows, never), whole)


def test_values_are_one_flat_array_by_rows(tmp_path: Path) -> None:
    found = fill(tmp_path, mixed(0)).values
    again = [found[i] for i in range(len(found))]
    assert np.array_equal(np.concatenate(again), found.flat)
    for part, own in zip(found[2:5], again[2:5], strict=True):
        assert np.array_equal(part, own)
    assert np.array_equal(found[-1], again[-1])
    with pytest.raises(IndexError):
        found[len(found)]


def entries(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("damage", [
    lambda data: b"",
    lambda data: data[:20],
    lambda data: data[:100],
    lambda data: data[:-16] + bytes(16),
    lambda data: data + bytes(16),
    lambda data: b"not what was written",
])  # fmt: skip
def test_a_damaged_entry_is_computed_again(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rows = mixed(0)
    whole = fill(tmp_path, rows)
    path = entries(tmp_path)[0]
    path.write_bytes(damage(path.read_bytes()))
    again = fill(tmp_path, rows)
    assert_equal(whole, again)
    assert 0 < again.computed <= 4
    assert_equal(fill(tmp_path, rows, never), whole)


def test_a_damaged_entry_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, mixed(0))
    first, *_ = entries(tmp_path)
    first.write_bytes(first.read_bytes()[:-1])
    assert ReferenceStore(tmp_path, "model").damaged == [first]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, marked(0)[:1])
    (path,) = entries(tmp_path)
    sound = path.read_bytes()
    assert values.read(path) is not None
    for bit in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert values.read(path) is None
    path.unlink()
    assert values.read(path) is None


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(values.os, "replace", full)
    with pytest.raises(RunError, match=r"No space left on device.*store="):
        fill(tmp_path, mixed(0))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_progress_counts_every_row_once(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(2):
        ReferenceStore(tmp_path, "model").fill(mixed(0), score, COLLATE, seen.append)
    assert seen == [4, 4, 2, 10]  # scored in three partitions; found at once


def test_at_spreads_the_values_to_their_rows(tmp_path: Path) -> None:
    some = fill(tmp_path, mixed(0)[:2])
    spread = some.at([3, 1], 5)
    assert [len(v) for v in spread.values] == [0, len(some.values[1]), 0, len(some.values[0]), 0]
    assert np.array_equal(spread.values[3], some.values[0]) and spread.digest == some.digest


def test_no_rows_are_no_values(tmp_path: Path) -> None:
    empty = fill(tmp_path, [])
    assert (len(empty.values), empty.computed, empty.found) == (0, 0, 0)


def test_the_digest_of_a_model_is_its_weights() -> None:
    one, same, other = model(seed=1), model(seed=1), model(seed=2)
    assert model_digest(one) == model_digest(same) != model_digest(other)
    assert model_digest(one) != model_digest(model(torch.float32, seed=1))
    with torch.no_grad():
        same.model.norm.weight[3] += 1e-12
    assert model_digest(one) != model_digest(same)
    assert model_digest(model(torch.float32).bfloat16())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_fill_of_many_parts_and_its_opening_hold_no_files(tmp_path: Path) -> None:
    """Else a large fill would run out of descriptors, and its values would be lost."""
    before = len(os.listdir("/proc/self/fd"))
    files = values.KeyedFiles(tmp_path)
    keys = np.arange(3 * values.MANY, dtype=np.uint64)
    for key in keys:
        files.add(np.array([key]), np.array([float(key)]))
    again = values.KeyedFiles(tmp_path)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the one of them all
    for found in (files, again):
        known, stored = found.look_up(keys)
        assert known.all() and (stored == keys).all() and not found.damaged


def test_a_value_that_got_lost_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values.KeyedFiles, "add", lambda *_: None)
    with pytest.raises(RunError, match="got lost"):
        fill(tmp_path, mixed(0))
