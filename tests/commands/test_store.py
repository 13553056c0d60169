"""`bvrank store ls | verify | gc`, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bvrank.cli import main
from bvrank.run import shelf
from bvrank.run.store import SEAL, kept
from bvrank.scoring.reference import ReferenceStore
from tests.commands.line import Call

Line = Callable[..., Call]


@pytest.fixture
def bvrank(capfd: pytest.CaptureFixture[str]) -> Line:
    """The command line, run to its end."""

    def go(*args: str) -> Call:
        code = main(args)
        told = capfd.readouterr()
        return Call(code, told.out, told.err, None)

    return go


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sealed entries and a reference of two files."""
    store = tmp_path / "store"
    for name in ("models/m", "pairs/p"):
        kept(store / name, lambda: lambda part: (part / "file").write_text("x"))
    reference = ReferenceStore(store, "identity")
    for key in (1, 2):
        reference.files.add(np.asarray([key], np.uint64), np.asarray([-1.5]))
    monkeypatch.setenv("BVRANK_STORE", str(store))
    return store


def listed(bvrank: Line, *words: str) -> dict[str, str]:
    done = bvrank("store", *words, "json=true")
    assert done.code in (0, 1), done.err
    return {line["name"]: line["said"] for line in json.loads(done.out)}


def test_ls_is_every_entry_with_its_size(bvrank: Line, store: Path) -> None:
    done = bvrank("store", "ls")
    assert done.code == 0 and f"{store}: 3 entries, " in done.out
    assert "models/m" in done.out and "taught models" in done.out and "today" in done.out
    assert bvrank("store").out == done.out == bvrank("store", "action=ls").out
    assert [*listed(bvrank)][:2] == ["models/m", "pairs/p"]


def test_verify_names_what_is_damaged_and_says_so_with_its_exit_code(
    bvrank: Line, store: Path
) -> None:
    assert bvrank("store", "verify").code == 0
    assert set(listed(bvrank, "verify").values()) == {"whole"}
    (store / "pairs/p/file").write_text("y")
    torn = next(store.glob("reference/*/*.values"))
    torn.write_bytes(torn.read_bytes()[:-1])
    found = listed(bvrank, "verify")
    assert found["pairs/p"] == "file is not what was written"
    assert found[f"reference/{torn.parent.name}"] == f"{torn.name} is torn"
    done = bvrank("store", "verify")
    assert done.code == 1 and "1 of 3 entries whole" in done.out


def test_gc_takes_what_is_damaged_half_written_or_idle_and_nothing_else(
    bvrank: Line, store: Path
) -> None:
    assert listed(bvrank, "gc") == {}
    (store / "pairs/p/file").write_text("y")
    torn, whole = store.glob("reference/*/*.values")
    torn.write_bytes(b"")
    part = store / "models/.x.part"
    part.mkdir()
    for path in (part, store / "models/m" / SEAL):
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    wanted = {
        "pairs/p": "file is not what was written", "models/.x.part": "left half-written",
        str(torn.relative_to(store)): "torn",
    }  # fmt: skip
    before = sorted(store.rglob("*"))
    assert listed(bvrank, "gc", "dry=true") == wanted and sorted(store.rglob("*")) == before
    assert listed(bvrank, "gc", "dry=true", "unused=30") == wanted | {
        "models/m": "unused for 40 days"
    }
    assert listed(bvrank, "gc") == wanted
    assert (store / "models/m/file").is_file() and whole.is_file() and not torn.exists()
    assert not part.exists() and not (store / "pairs/p").exists()
    assert listed(bvrank, "gc", "unused=30") == {"models/m": "unused for 40 days"}
    assert listed(bvrank, "gc", "unused=0") != {} and listed(bvrank, "ls") == {}
    assert "0 entries" in bvrank("store", "ls").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ls", "dry=true"), "dry: is read by gc alone. Write bvrank store gc."),
        (("verify", "unused=3"), "unused: is read by gc alone. Write bvrank store gc."),
        (("gc", "unused=-1"), "unused: must be at least 0, got -1.0"),
        (("gcc",), "there is no 'store gcc'. Did you mean 'gc'?"),
        (("action=gcc",), "action: must be one of ls, verify, gc, got 'gcc'. Did you mean 'gc'?"),
        (("store=/nowhere/at/all",), "store: /nowhere/at/all is no folder"),
    ],
)
def test_a_mistake_is_one_line(
    bvrank: Line, store: Path, words: tuple[str, ...], said: str
) -> None:
    done = bvrank("store", *words)
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")


def test_a_store_that_is_not_there_yet_is_empty(
    bvrank: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BVRANK_STORE", str(tmp_path / "new"))
    for action in ("ls", "verify", "gc"):
        done = bvrank("store", action)
        assert (done.code == 0 and "0 entries" in done.out) or "0 of 0" in done.out


GONE = [("ls", "bvrank.commands.store._show"), ("verify", "bvrank.commands.store._checked"),
        ("gc", "bvrank.commands.store._checked")]  # fmt: skip


@pytest.mark.parametrize(("action", "before"), GONE)
def test_what_another_process_takes_away_meanwhile_is_left_out(
    bvrank: Line, store: Path, monkeypatch: pytest.MonkeyPatch, action: str, before: str
) -> None:
    """Everything goes once it is listed, and a half-written one right before it is deleted."""
    room, _, name = before.rpartition(".")
    real = getattr(sys.modules[room], name)

    def late(*args: object) -> object:
        shutil.rmtree(store / "pairs")
        shutil.rmtree(store / "reference")
        return real(*args)

    monkeypatch.setattr(before, late)
    part = store / "models/.x.part"
    monkeypatch.setattr("bvrank.commands.store.left_behind", lambda _: [part])
    left = {"verify": {"models/m": "whole"}, "gc": {}}
    if action in left:
        assert listed(bvrank, action) == left[action]
    else:
        assert "3 entries" in bvrank("store", action).out


def test_gc_leaves_what_was_made_whole_or_used_meanwhile(
    bvrank: Line, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "pairs/p/file").write_text("y")
    os.utime(store / "models/m" / SEAL, (time.time() - 40 * 86_400,) * 2)
    real = shelf.alone

    def late(folder: Path) -> object:
        """Between the listing and the lock somebody mends one and uses the other."""
        (store / "pairs/p/file").write_text("x")
        os.utime(store / "models/m" / SEAL)
        return real(folder)

    monkeypatch.setattr(shelf, "alone", late)
    assert listed(bvrank, "gc", "unused=30") == {}
    assert (store / "pairs/p/file").is_file() and (store / "models/m/file").is_file()
