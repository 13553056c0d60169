"""A data set is what its files hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bvrank.data.fingerprint import contents, fingerprint


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("one\n")
    return path


def test_it_follows_the_content_and_not_the_name_or_place(file: Path, tmp_path: Path) -> None:
    first = fingerprint({"path": str(file)})
    moved = tmp_path / "sub" / "b.jsonl"
    moved.parent.mkdir()
    moved.write_text("one\n")
    assert fingerprint({"path": str(moved)}) == first and len(first) == 16
    moved.write_text("two\n")
    assert fingerprint({"path": str(moved)}) != first


def test_every_key_that_ends_in_path_counts_at_any_depth(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.jsonl"
    other.write_text("two\n")
    nodes = [
        {"path": str(file)},
        {"path": str(file), "eval_path": str(other)},
        {"path": str(file), "inner": {"bare_path": str(other)}},
        {"path": str(other), "eval_path": str(file)},
    ]
    prints = [fingerprint(n) for n in nodes]
    assert prints[1] == prints[2] and len(set(prints)) == 3


def test_other_keys_hub_ids_and_missing_files_add_nothing(file: Path) -> None:
    plain = fingerprint({"path": str(file)})
    more = {"path": str(file), "name": str(file), "bare_path": "org/set", "eval_path": None, "n": 3}
    assert fingerprint(more) == plain
    assert fingerprint({}) == fingerprint({"path": "nowhere.jsonl"}) != plain


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    def made(name: str, **files: str) -> str:
        for file, text in {"config.json": "{}", **files}.items():
            path = tmp_path / name / file.replace("_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return fingerprint({"path": str(tmp_path / name)})

    base = made("one", a="1", b_c="2")
    assert made("two", b_c="2", a="1") == base
    different = [made("three", a="2", b_c="1"), made("four", a="1", b_d="2"), made("five", a="1")]
    assert len({base, *different}) == 4


def test_of_a_folder_that_no_library_saved_the_first_floor_counts(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    base = fingerprint({"path": str(tmp_path)})
    (tmp_path / "deep" / "a").write_text("1")
    assert fingerprint({"path": str(tmp_path)}) == base
    (tmp_path / "a").write_text("1")
    assert fingerprint({"path": str(tmp_path)}) != base


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint({"path": str(tmp_path / "pipe")}) == fingerprint({})
    assert fingerprint({"path": "/dev/zero"}) == fingerprint({})


def test_a_home_folder_is_expanded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert fingerprint({"path": "~/a.jsonl"}) == fingerprint({"path": str(file)})


def settled(path: Path, text: str) -> None:
    """Written, and as if that had been a while ago."""
    path.write_text(text)
    os.utime(path, (1e9, 1e9))


def test_a_file_that_nobody_wrote_to_is_read_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    first = fingerprint({"path": str(file)})
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert fingerprint({"path": str(file)}) == first


def test_neither_size_nor_time_hide_another_content(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    settled(file, "one\n")
    first = fingerprint({"path": str(file)})
    time.sleep(0.02)  # a tick of the file system's clock
    settled(file, "two\n")
    assert fingerprint({"path": str(file)}) != first


def test_a_file_that_was_just_written_is_not_remembered(file: Path) -> None:
    found = set()
    for text in ("one\n", "two\n", "six\n"):  # within one tick, perhaps
        file.write_text(text)
        found.add(fingerprint({"path": str(file)}))
    assert len(found) == 3


def test_the_content_of_each_file_is_told_by_its_key(file: Path) -> None:
    found = contents({"a": {"qrels": str(file), "n": 1}, "path": str(file), "b_path": "org/set"})
    assert found == {"a.qrels": fingerprint({"path": str(file)}), "path": found["a.qrels"]}
