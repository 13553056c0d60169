"""What lies in a store, by its own account."""

from __future__ import annotations

import os
import time
from pathlib import Path

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
