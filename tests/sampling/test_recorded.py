"""Responses that somebody sampled before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import ConfigError, DataError
from bvrank.sampling.local import Work
from bvrank.sampling.prompts import File
from bvrank.sampling.recorded import Recorded, _truth
from bvrank.sampling.responses import MODES, Made, Prompt

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))


def recorded(path: str, n: int, **how: Any) -> list[Made]:
    source, work = Recorded(path, **how), Work(prompts_of(path), MODES, n, 0)
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
        Made("thinking", 0, 0, "t", "x", True, "stop", score=1.0, block="opened"),
        Made("thinking", 1, 0, "u", "y", True, "stop", score=0.5),
        Made("thinking", 0, 1, "never", None, False, "length", score=0.0, block="opened"),
    ]
    assert [m.answer for m in recorded(path, 3)] == ["x", "y", None, "third"]


def test_prompts_that_had_opened_the_block(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "t\n</think>\n\nx"},
                {"prompt": "a", "completion": "cut"})  # fmt: skip
    one, other = recorded(path, 2, opened=True)
    assert (one.think, one.answer) == ("t", "x") and not other.closed


def test_a_block_that_no_row_opens_is_told(tmp_path: Path) -> None:
    """Else the thought that was cut off would be an answer."""
    rows = [{"prompt": "a", "completion": c} for c in ("t\n</think>\n\nx", "cut", "u</think>y")]
    path = file(tmp_path, *rows)
    with pytest.raises(ConfigError, match="2 of 3 thinking responses close") as error:
        Recorded(path).survey(prompts_of(path), None)
    assert error.value.where == "sampler.opened"
    for fine in ({"opened": True}, {"mode": "nothinking"}):
        assert Recorded(path, **fine).survey(prompts_of(path), None).taken == {0: 3}  # type: ignore[arg-type]
    path = file(tmp_path, *rows, {"prompt": "a", "completion": "<think>\nt</think>z"})
    assert Recorded(path).survey(prompts_of(path), None).taken == {0: 4}


def test_a_column_says_who_ended(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x", "done": False},
                {"prompt": "a", "completion": "y", "done": True})  # fmt: skip
    found = recorded(path, 2, finished_column="done", mode="nothinking")
    assert [(m.mode, m.end) for m in found] == [("nothinking", "length"), ("nothinking", "stop")]


@pytest.mark.parametrize("key", ["completion_column", "score_column", "finished_column"])
def test_columns_that_are_not_there(key: str, tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x"})
    said = rf"has no 'text'; its columns are prompt, completion.*sampler\.{key}="
    with pytest.raises(DataError, match=said):
        recorded(path, 1, **{key: "text"})


BAD = [
    ({"completion": 3}, "no_completion", "'completion' is a number, not text"),
    ({"completion": None}, "no_completion", "'completion' is missing"),
    ({"completion": {"think": "t", "answer": 42}}, "no_completion", "'answer' is a number"),
    *[({"s": value}, "bad_score", f"'s' is no number but {str(value)!r}")
      for value in ("nan", "inf", True, [1], "high")],
    ({"done": "perhaps"}, "no_end", "'done' is neither true nor false"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "reason", "said"), BAD)
def test_a_row_that_is_no_response_is_refused_and_takes_no_place(
    bad: dict[str, Any], reason: str, said: str, tmp_path: Path
) -> None:
    """The others are as if it were not there; who has not asked what is refused gets an error."""
    good = [{"prompt": "a", "completion": c, "s": 1, "done": True} for c in "xyz"]
    how = {"score_column": "s", "finished_column": "done"}
    path = file(tmp_path, good[0], good[1] | bad, *good[1:])
    with pytest.raises(DataError) as error:
        recorded(path, 2, **how)
    assert error.value.where == "rollouts.jsonl:2" and said in str(error.value)
    survey = Recorded(path, **how).survey(prompts_of(path), 2)  # type: ignore[arg-type]
    (refused,) = survey.refused
    assert (refused.where, refused.reason) == ("rollouts.jsonl:2", reason)
    assert said in refused.detail and survey.kept == 3
    source = Recorded(path, **how).lenient()  # type: ignore[arg-type]
    work = Work(prompts_of(path), ("thinking",), 2, 0)
    (batch,) = source.responses(work, "thinking", (), 0, 1)
    assert [(m.copy, m.answer) for m in batch] == [(0, "x"), (1, "y")]


def prompts_of(path: str) -> list[Prompt]:
    return [p for p in File(path).prompts() if isinstance(p, Prompt)]


def test_a_survey_counts_every_row_once(tmp_path: Path) -> None:
    copies = {"a": 5, "b": 2, "c": 1, "d": 1}
    rows = [{"prompt": p, "completion": "<think>\nt" if n == 1 else f"{p}{n}"}
            for p, count in copies.items() for n in range(count)]  # fmt: skip
    path = file(tmp_path, *rows, {"prompt": "", "completion": "x"}, {"prompt": "a"})
    prompts = prompts_of(path)[:3]
    found = Recorded(path).survey(prompts, None)
    assert (found.taken, found.beyond, found.others) == ({0: 5, 1: 2, 2: 1}, {}, 1)
    assert [(r.where, r.reason) for r in found.refused] == [
        ("rollouts.jsonl:10", "empty_prompt"), ("rollouts.jsonl:11", "no_completion")
    ]  # fmt: skip
    assert found.answers == {0: 4, 1: 1, 2: 1} and found.characters == 12
    for n, beyond in ((2, 4), (4, 2), (9, 0)):
        some = Recorded(path).survey(prompts, n)
        assert some.beyond.total() == beyond and max(some.taken.values()) == min(n, 5)
        unread = n < 9  # of what is left out nobody looks at the completion
        assert some.most == 5 + unread and some.kept == len(rows) + unread
        work = Work(prompts, ("thinking",), n, 0)
        made = Recorded(path).lenient().responses(work, "thinking", (), 0, 1)
        assert sum(map(len, made)) == some.taken.total()


def test_prompts_of_the_very_file_are_told_from_others(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a", "completion": "x"})
    assert Recorded(path).of(File(path)) and Recorded(path, system="s").of(File(path, system="s"))
    assert Recorded(path).of(File(path, limit=1, gold_column="completion"))
    for other in (File(path + "x"), File(path, "train"), File(path, system="s"), None):
        assert not Recorded(path).of(other)


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
