"""Prompts out of files of the usual forms."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import ConfigError, DataError
from bvrank.records import Message, Refused
from bvrank.sampling.prompts import Arithmetic, File, rendered
from bvrank.sampling.responses import Prompt

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))


def file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def said(source: File) -> list[tuple[str, ...]]:
    return [tuple(f"{m.role}:{m.content}" for m in p.messages)
            for p in source.prompts() if isinstance(p, Prompt)]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "why?"}, ("user:why?",)),
        ({"instruction": "why?", "completions": []}, ("user:why?",)),
        ({"instruction": "why?", "input": ""}, ("user:why?",)),
        ({"instruction": "add", "input": "1 2"}, ("user:add\n1 2",)),
        ({"question": "why?", "answer": "so"}, ("user:why?",)),
        ({"problem": "why?"}, ("user:why?",)),
        ({"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "a"},
                       {"role": "assistant", "content": "left off"}]}, ("system:be", "user:a")),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
                            {"from": "human", "value": "c"}]},
         ("user:a", "assistant:b", "user:c")),
        ({"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"},
         ("user:a", "assistant:b", "user:c")),
        ({"prompt": "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nwhy?<|im_end|>\n"
                    "<|im_start|>assistant\n"}, ("system:be", "user:why?")),
    ],
)  # fmt: skip
def test_the_column_is_found(row: dict[str, Any], turns: tuple[str, ...], tmp_path: Path) -> None:
    assert said(File(file(tmp_path, row))) == [turns]


def test_a_prompt_counts_once_and_the_rows_are_numbered_without_gaps(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "a"}, {"prompt": "a"}, {"prompt": " "}, {"prompt": "b"})
    found = list(File(path).prompts())
    assert [p.row for p in found if isinstance(p, Prompt)] == [0, 1]
    reasons = [(r.where, r.reason) for r in found if isinstance(r, Refused)]
    assert reasons == [("prompts.jsonl:2", "duplicate_prompt"), ("prompts.jsonl:3", "empty_prompt")]
    assert len(said(File(path, limit=1))) == 1


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("7", "8", "conflicting_gold"), ("7", "7", "duplicate_prompt"),
        (7, "7.0", "duplicate_prompt"),
        ("1,234", "1234", "duplicate_prompt"), ("1, 2", "12", "conflicting_gold"),
        ("long way\n#### 18", "short\n#### 18", "duplicate_prompt"),
        ("same\n#### 18", "same\n#### 81", "conflicting_gold"),
        ("so \\boxed{\\frac{1}{2}}.", "or $\\boxed{\\frac{1}{2}}$", "duplicate_prompt"),
        ("so \\boxed{\\frac{1}{2}}", "so \\boxed{\\frac{1}{3}}", "conflicting_gold"),
        ("\\boxed{1", "\\boxed{2", "conflicting_gold"), ("Paris", "paris", "conflicting_gold"),
    ],
)  # fmt: skip
def test_a_prompt_with_another_gold_answer_is_told_apart_from_one_that_is_repeated(
    one: Any, other: Any, reason: str, tmp_path: Path
) -> None:
    rows = [{"prompt": "a", "x": x} for x in (one, other)]
    found = list(File(file(tmp_path, *rows), gold_column="x").prompts())
    first, second = found
    assert isinstance(first, Prompt) and first.gold == str(one)
    assert isinstance(second, Refused) and second.reason == reason
    if reason == "conflicting_gold":
        assert second.detail == "said before with another gold answer, prompts.jsonl:1"
    else:
        assert second.detail == "stands in an earlier row, prompts.jsonl:1"
    assert [r.reason for r in File(file(tmp_path, *rows)).prompts() if isinstance(r, Refused)] == [
        "duplicate_prompt"
    ]  # where no column is gold there is nothing to contradict


def test_a_system_prompt_is_put_before_rows_that_bring_none(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]
    path = file(tmp_path, {"prompt": "a"}, {"prompt": own})
    assert said(File(path, system="ours")) == [("system:ours", "user:a"), ("system:own", "user:b")]


@pytest.mark.parametrize(("value", "gold"), [("7", "7"), (7, "7"), (7.5, "7.5"), (["7"], "7")])
def test_the_known_answer(value: Any, gold: str, tmp_path: Path) -> None:
    (found,) = File(file(tmp_path, {"prompt": "a", "x": value}), gold_column="x").prompts()
    assert isinstance(found, Prompt) and found.gold == gold


@pytest.mark.parametrize("value", [None, {}, ["1", "2"], True, "", " ", math.nan])
def test_a_row_without_a_known_answer_is_refused(value: Any, tmp_path: Path) -> None:
    (found,) = File(file(tmp_path, {"prompt": "a", "x": value}), gold_column="x").prompts()
    assert isinstance(found, Refused) and found.reason == "no_gold"


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = file(tmp_path, {"text": "a", "prompts": "b"})
    with pytest.raises(DataError, match="holds no prompts; its columns are: prompts, text"):
        list(File(path).prompts())
    for given in ({"column": "prompt"}, {"column": "text", "gold_column": "prompt"}):
        with pytest.raises(DataError, match=r"has no column 'prompt'.*prompts"):
            list(File(path, **given).prompts())
    assert said(File(path, column="text")) == [("user:a",)]


def test_only_chatml_is_taken_apart() -> None:
    assert rendered("a <|im_start|>user\nb<|im_end|>") is None
    turns = rendered("<|im_start|>user\na\n\nb<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert turns == (Message("user", "a\n\nb"),)


def test_sums_bring_their_answers() -> None:
    found = [p for p in Arithmetic(5, 1, "test").prompts() if isinstance(p, Prompt)]
    assert [p.row for p in found] == list(range(5))
    for p in found:
        digits = p.messages[0].content.removesuffix("=?").split("+")
        assert p.gold == str(sum(map(int, digits)))


@pytest.mark.parametrize("given", [{"problems": 0}, {"problems": 10**7}])
def test_settings_out_of_range(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"^problems: "):
        Arithmetic(**given)
    with pytest.raises(ConfigError, match=r"^limit: must be at least 1"):
        File("a", limit=0)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
@pytest.mark.parametrize(
    ("name", "gold", "count"),
    [("math/math500.jsonl", "answer", 500), ("math/gsm8k_test.jsonl.gz", "answer", 1319),
     ("alignment/arena_hard_v0.1/question_v0.1.jsonl", None, 500),
     ("alignment/alpaca_eval/gpt4_1106_preview_model_outputs.json.gz", None, 805),
     ("pairs/think_rollouts_aime24_30x2.jsonl.gz", "gold", 30)],
)  # fmt: skip
def test_real_prompts(name: str, gold: str | None, count: int) -> None:
    found = list(File(str(REAL / name), gold_column=gold).prompts())
    refused = [r.reason for r in found if isinstance(r, Refused)]
    assert len(found) - len(refused) + refused.count("duplicate_prompt") >= count - 0
    assert set(refused) <= {"duplicate_prompt"}
