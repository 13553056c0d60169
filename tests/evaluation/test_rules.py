"""Rules of a category, and what they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.errors import ConfigError
from bvrank.evaluation.boards import answer_row
from bvrank.evaluation.rules import Rules
from tests.evaluation.judges import save


def test_words_and_answers(tmp_path: Path) -> None:
    path = str(save(tmp_path / "a.jsonl", [answer_row("u", (), "m", "text", "id", {}, 0.0)]))
    assert Rules(path, "Be fair.").words == "Be fair."
    assert Rules(path, "Be fair.").baseline["u"].text == "text"
    (tmp_path / "w.txt").write_text(" Be kind.\n")
    assert Rules(path, "Be fair.", str(tmp_path / "w.txt")).words == "Be kind."


def test_no_file_is_told() -> None:
    with pytest.raises(ConfigError, match="baseline") as error:
        _ = Rules(None, "x").baseline
    assert error.value.where == "task.rules.baseline_path"
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = Rules(None, "x", "none.txt").words
