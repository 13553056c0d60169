"""A file that one converter cannot read names those that can."""

from __future__ import annotations

import json
from pathlib import Path

from bvrank.commands.guessing import hint

HH = {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"}
PARAGRAPHS = {"id": "1", "question": "Who?", "answer": "He", "answerable": True,
              "paragraphs": [{"idx": i, "title": f"t{i}", "paragraph_text": f"words {i}",
                              "is_supporting": i < 2} for i in range(4)]}  # fmt: skip


def written(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "raw.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_who_can_read_it_is_named(tmp_path: Path) -> None:
    assert hint(written(tmp_path, HH), None) == (
        "from=hh, from=trl or from=ultrafeedback can read its first rows."
    )
    assert hint(written(tmp_path, PARAGRAPHS), None) == "from=musique can read its first rows."


def test_nobody_is_named_for_a_file_with_a_fault_or_without_sense(tmp_path: Path) -> None:
    assert hint(written(tmp_path, PARAGRAPHS, {**PARAGRAPHS, "question": 3}), None) == ""
    assert hint(written(tmp_path, {"a": 1}), None) == ""
