"""What lies in a store, by its own account."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bvrank.run.shelf import Entry, entries, left_behind, remove
from bvrank.run.store import SEAL, kept


def make(folder: Path, text: str = "x") -> Path:
    return kept(folder, lambda: lambda part: (part / "file").write_text(text))


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * 86_400,) * 2)


def test_entries_by_kind_the_one_used_last_first(tmp_path: Path) -> None:
    for name in ("pairs/a", "pairs/b", "models/c", "elsewhere/d"):
        make(tmp_path / name, "12345")
    age(tmp_path / "pairs/a" / SEAL, 3)
    (tmp_path / "reference/r").mkdir(parents=True)
    (tmp_path / "models/.c.1.part").mkdir()
    found = entries(tmp_path)
    assert [e.name for e in found] == ["models/c", "pairs/b", "pairs/a", "reference/r"]
    assert found[0].bytes == 5 + (tmp_path / "models/c" / SEAL).stat().st_size
    assert 2.9 < (time.time() - found[2].used) / 86_400 < 3.1
    assert entries(tmp_path / "nowhere") == []


def test_a_hit_is_a_use(tmp_path: Path) -> None:
    folder = make(tmp_path / "pairs/a")
    age(folder / SEAL, 9)
    make(folder)
    assert time.time() - entries(tmp_path)[0].used < 60


def test_a_problem_is_that_of_the_seal_or_of_who_reads_the_kind(tmp_path: Path) -> None:
    entry = Entry("pairs", make(tmp_path / "pairs/a"), 0, 0)
    assert entry.problem(lambda _: []) is None
    (entry.path / "file").write_text("y")
    assert entry.problem(lambda _: []) == "file is not what was written"
    open_kind = Entry("reference", tmp_path, 0, 0)
    assert open_kind.problem(lambda _: []) is None
    assert open_kind.problem(lambda p: [p / "v"]) == "v is torn"


def test_only_what_is_old_was_left_behind(tmp_path: Path) -> None:
    paths = [tmp_path / "models/.x.part", tmp_path / "pairs/y.part", tmp_path / "reference/r/z.tmp"]
    for path in paths:
        path.mkdir(parents=True)
    assert left_behind(tmp_path) == []
    for path in paths:
        age(path, 0.1)
    assert left_behind(tmp_path) == paths


def test_what_is_removed_is_gone_and_its_neighbours_stay(tmp_path: Path) -> None:
    folder, other = make(tmp_path / "pairs/a"), make(tmp_path / "pairs/b")
    link = tmp_path / "pairs/c"
    link.symlink_to(other)
    remove(folder)
    remove(link)
    assert sorted(p.name for p in (tmp_path / "pairs").iterdir()) == ["b"]
    assert (other / "file").read_text() == "x"


def test_nothing_is_removed_where_it_has_been_made_whole_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "pairs/a")
    assert not remove(folder, unless=lambda: True)
    assert remove(folder, unless=lambda: False) and not folder.exists()
    with pytest.raises(FileNotFoundError):
        remove(folder)


def churned(store: Path, done: Callable[[], bool]) -> None:
    """Makes and deletes entries, halves of them, and files of references."""
    while not done():
        for name in ("pairs/a", "pairs/b/deep", "models/.c.1-1.part/deep", "reference/r"):
            (store / name).mkdir(parents=True, exist_ok=True)
            (store / name / "x.tmp").write_text("x")
        for name in ("pairs/a", "pairs/b", "models/.c.1-1.part", "reference/r"):
            remove(store / name)


def test_what_comes_and_goes_meanwhile_stops_nobody(tmp_path: Path) -> None:
    ended = threading.Event()
    for kind in ("pairs", "models", "reference"):
        (tmp_path / kind).mkdir()
    writer = threading.Thread(target=churned, args=(tmp_path, ended.is_set))
    writer.start()
    try:
        for _ in range(100):
            for entry in entries(tmp_path):
                entry.problem(lambda _: [])
            assert left_behind(tmp_path) == []
    finally:
        ended.set()
        writer.join()
