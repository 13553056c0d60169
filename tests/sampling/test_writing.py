"""The files of pairs say the same in both formats, and are read by the source they are for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bvrank.data.pairs import Pairs
from bvrank.records import Example
from bvrank.sampling.writing import SUMS, damaged, write_pairs, write_sums

TURNS = [{"role": "system", "content": "be"}, {"role": "user", "content": "why?"}]


def row(n: int, view: str, prompt: Any = None, lists: bool = False) -> dict[str, Any]:
    def side(text: str) -> Any:
        one = {"think": f"t{n}" if view == "full" else None, "answer": f"{text}{n}"}
        return [one, one] if lists else one

    return {
        "prompt": prompt or f"q{n}", "view": view, "chosen": side("a"), "rejected": side("b"),
        "chosen_score": 1.0, "rejected_score": 0.25, "row": n, "chosen_copy": 0,
        "rejected_copy": 1,
    }  # fmt: skip


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("messages", [False, True])
def test_both_formats_hold_the_same_rows(lists: bool, messages: bool, tmp_path: Path) -> None:
    rows = [row(n, view, lists=lists) for view in ("full", "bare") for n in range(1200)]
    if messages:
        rows[1]["prompt"] = TURNS
    parquet, jsonl = write_pairs(tmp_path, rows, ["parquet", "jsonl"], lists=lists,
                                 messages=messages)  # fmt: skip
    lines = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert pq.read_table(parquet).to_pylist() == lines and len(lines) == 2400
    if messages:
        assert lines[0]["prompt"] == [{"role": "user", "content": "q0"}]
        assert lines[1]["prompt"] == TURNS
    else:
        assert lines == rows
    found = [list(Pairs(str(path)).rows()) for path in (parquet, jsonl)]
    for items in found:
        assert all(isinstance(item, Example) for item in items)
        sides = 4 if lists else 2
        assert sum(len(item.candidates) for item in items if isinstance(item, Example)) == (
            2400 * sides
        )


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    content = []
    for _ in range(2):
        files = write_pairs(tmp_path, [row(0, "full")], ["parquet", "jsonl"], lists=False,
                            messages=False)  # fmt: skip
        content.append([p.read_bytes() for p in files])
    assert content[0] == content[1]


def test_a_writing_that_breaks_leaves_the_old_files(tmp_path: Path) -> None:
    write_pairs(tmp_path, [row(0, "full")], ["jsonl"], lists=False, messages=False)
    before = (tmp_path / "pairs.jsonl").read_bytes()

    def breaking() -> Any:
        yield from (row(n, "full") for n in range(2500))
        raise ValueError

    with pytest.raises(ValueError):
        write_pairs(tmp_path, breaking(), ["jsonl", "parquet"], lists=False, messages=False)
    assert (tmp_path / "pairs.jsonl").read_bytes() == before
    assert not (tmp_path / "pairs.parquet").exists()


def test_the_hashes_are_of_every_file_that_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for name in ("lock", "manifest.json", ".part", SUMS):
        (tmp_path / name).write_text("changes")
    lines = write_sums(tmp_path).read_text().splitlines()
    assert lines == [f"{hashlib.sha256(b'x').hexdigest()}  a"]


def test_what_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "manifest.json", "summary.json"):
        (tmp_path / name).write_text(name)
    assert damaged(tmp_path) == [SUMS]
    write_sums(tmp_path)
    assert damaged(tmp_path) == []
    (tmp_path / "a").write_text("A")
    (tmp_path / "c").unlink()
    (tmp_path / "summary.json").write_text("later")
    assert damaged(tmp_path) == ["a", "c"]
