"""Responses that somebody sampled before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import DataError
from bvrank.sampling.local import Work
from bvrank.sampling.prompts import File
from bvrank.sampling.recorded import Recorded, _truth
from bvrank.sampling.responses import MODES, Made, Prompt

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))


def recorded(path: str, n: int, **how: Any) -> list[Made]:
    prompts = [p for p in File(path).prompts() if isinstance(p, Prompt)]
    source = Recorded(path, **how)
    work = Work(prompts, MODES, n, 0)
    return [m for mode in MODES for rank in (0, 1)
            for batch in source.responses(work, mode, (), rank, 2) for m in batch]  # fmt: skip


def file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_of_one_prompt_are_its_responses_in_file_order(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        {"prompt": "a", "completion": "<think>\nt\n</think>\n\nx", "reward": 1},
        {"prompt": "b", "completion": {"think": "u", "answer": "y"}, "reward": 0.5},
        {"prompt": "a", "completion": "<think>\nnever", "reward": 0},
        {"prompt": "a", "completion": "third", "reward": 0},
    )
    assert recorded(path, 2, score_column="reward") == [
        Made("thinking", 0, 0, "t", "x", True, "stop", score=1.0),
        Made("thinking", 1, 0, "u", "y", True, "stop", score=0.5),
        Made("thinking", 0, 1, "never", None, False, "length", score=0.0),
    ]
    assert [m.answer for m in recorded(path, 3)] == ["x", "y", None, "third"]


def test_prompts_that_had_opened_the_block(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "t\n</think>\n\nx"},
                {"prompt": "a", "completion": "cut"})  # fmt: skip
    one, other = recorded(path, 2, opened=True)
    assert (one.think, one.answer) == ("t", "x") and not other.closed


def test_a_column_says_who_ended(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x", "done": False},
                {"prompt": "a", "completion": "y", "done": True})  # fmt: skip
    found = recorded(path, 2, finished_column="done", mode="nothinking")
    assert [(m.mode, m.end) for m in found] == [("nothinking", "length"), ("nothinking", "stop")]


@pytest.mark.parametrize(
    ("how", "said"),
    [({"completion_column": "text"}, "has no 'text'; its columns are prompt, completion"),
     ({"score_column": "completion"}, "is no number but 'x'")],
)  # fmt: skip
def test_columns_that_do_not_fit(how: dict[str, str], said: str, tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x"})
    with pytest.raises(DataError, match=said):
        recorded(path, 1, **how)
    with pytest.raises(DataError, match=r"rollouts.jsonl:1"):
        recorded(file(tmp_path, {"prompt": "a", "completion": 3}), 1)


@pytest.mark.parametrize("ending", ["<|im_end|>", "<|im_end|>\n", "</s>"])
def test_the_token_that_ended_a_completion_is_left_off(ending: str, tmp_path: Path) -> None:
    whole = "<think>\nt\n</think>\n\nx <|im_end|> y"
    path = file(tmp_path, {"prompt": "a", "completion": whole + ending},
                {"prompt": "a", "completion": {"think": None, "answer": "z" + ending}})  # fmt: skip
    told = [(m.think, m.answer) for m in recorded(path, 2)]
    assert told == [("t", "x <|im_end|> y"), (None, "z")]


@pytest.mark.parametrize(
    ("value", "score"), [(1, 1.0), ("0.5", 0.5), (None, None), ("", None), (" 2 ", 2.0)]
)
def test_scores_are_read_as_tables_write_them(value: Any, score: float, tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x", "s": value})
    assert recorded(path, 1, score_column="s")[0].score == score


@pytest.mark.parametrize("value", ["nan", "inf", True, [1], "high"])
def test_a_score_that_is_none_is_an_error(value: Any, tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x", "s": value})
    with pytest.raises(DataError, match=r"rollouts.jsonl:1: 's' is no number"):
        recorded(path, 1, score_column="s")


def test_an_answer_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": {"think": "t", "answer": 42}})
    with pytest.raises(DataError, match=r"rollouts.jsonl:1: 'answer'"):
        recorded(path, 1)


def test_a_system_prompt_that_was_added_is_no_other_prompt(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x"})
    prompts = [p for p in File(path, system="Be brief.").prompts() if isinstance(p, Prompt)]
    work = Work(prompts, ("thinking",), 1, 0)
    (batch,) = Recorded(path, system="Be brief.").responses(work, "thinking", (), 0, 1)
    assert [m.answer for m in batch] == ["x"]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
def test_real_rollouts_of_which_half_never_closed_their_thinking() -> None:
    path = str(REAL / "pairs/think_rollouts_aime24_30x2.jsonl.gz")
    found = recorded(path, 2, score_column="reward")
    assert len(found) == 60 and sum(not m.closed for m in found) == 29
    assert sum(m.score or 0 for m in found) == 28


@pytest.mark.parametrize(
    ("value", "ended"),
    [(True, True), ("False", False), ("true", True), (0, False), ("1", True), ("maybe", None)],
)
def test_who_ended_is_read_as_tables_write_it(value: Any, ended: bool | None) -> None:
    assert _truth(value) is ended
