from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.data.converters.arc import ARC
from bvrank.data.files import read_rows
from bvrank.errors import ConfigError
from bvrank.records import Refused

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent")) / "ranking" / "arc_challenge"


def row(*options: str, answer: str = "answer2", question: str = "Why?") -> dict[str, Any]:
    listed = " ".join(f"Answer{i}: {o}" for i, o in enumerate(options, start=1))
    names = "/".join(f"answer{i}" for i in range(1, len(options) + 1))
    head = "Please choose the correct answer to the question: "
    return {
        "instruction": f"{head}{question}\n\n{listed}\n\nAnswer format: {names}",
        "input": "",
        "output": f"the correct answer is {answer}",
        "answer": answer,
    }


def test_options_become_candidates_and_the_answer_relevance() -> None:
    assert ARC().convert("a:1", row("It is wet.", "It is dry.", "So.")) == {
        "prompt": "Why?",
        "candidates": ["It is wet.", "It is dry.", "So."],
        "relevance": [0, 1, 0],
    }
    assert ARC().kind == "lists"


def test_marks_out_of_turn_are_text() -> None:
    found = ARC().convert("a:1", row("see Answer3: there", "b", "c"))
    assert isinstance(found, dict)
    assert found["candidates"] == ["see Answer3: there", "b", "c"]


def test_the_prompt_can_be_shaped_and_show_the_options() -> None:
    arc = ARC("Q: {question} {x}\nA:", candidates_in_prompt=True, option="({option})")
    found = arc.convert("a:1", row("a", "b"))
    assert isinstance(found, dict) and found["prompt"] == "Q: Why? {x}\nA:\n(a)\n(b)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": "answer3"}, "bad_answer"),
        ({"answer": "b"}, "bad_answer"),
        ({"answer": None}, "missing"),
        ({"instruction": None}, "missing"),
        ({"instruction": 3}, "wrong_type"),
        ({"instruction": "Is it so?"}, "no_options"),
        (row("a"), "no_options"),
        (row("a", " "), "empty_candidate"),
        (row("a", "a"), "duplicates"),
        (row("a", "b", question=""), "empty_prompt"),
    ],
)
def test_rows_without_a_question_are_refused(change: dict[str, Any], reason: str) -> None:
    found = ARC().convert("a:1", {**row("a", "b"), **change})
    assert isinstance(found, Refused) and (found.where, found.reason) == ("a:1", reason)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["instruction", "answer"]), st.text() | st.none()))
def test_no_row_raises(junk: dict[str, Any]) -> None:
    assert isinstance(ARC().convert("a:1", junk), dict | Refused)


@pytest.mark.parametrize(
    ("field", "value"), [("template", "no question"), ("option", "- {question}")]
)
def test_templates_need_their_field(field: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ARC(**{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize(
    ("split", "sizes"), [("train", {4: 1117, 3: 1, 5: 1}), ("test", {4: 1165, 3: 4, 5: 3})]
)
def test_real_questions(split: str, sizes: dict[int, int]) -> None:
    path = REAL / f"{split}.json.gz"
    if not path.is_file():
        pytest.skip("needs BVRANK_REAL_DATA")
    found = [ARC().convert(where, raw) for where, raw in read_rows(path)]
    assert not [f for f in found if isinstance(f, Refused)]
    assert Counter(len(f["candidates"]) for f in found if isinstance(f, dict)) == sizes
    assert all(sum(f["relevance"]) == 1 for f in found if isinstance(f, dict))
