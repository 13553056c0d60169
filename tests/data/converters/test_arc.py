from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bvrank.data.converters.arc import ARC
from bvrank.data.files import read_rows
from bvrank.errors import ConfigError
from tests.data.converters.raw import choice, made, one, real, reasons

GIVEN = ARC(distractors="given")


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
    assert one(GIVEN, row("It is wet.", "It is dry.", "So.")) == {
        "prompt": "Why?",
        "candidates": ["It is wet.", "It is dry.", "So."],
        "relevance": [0, 1, 0],
    }
    assert GIVEN.kind == "lists"


def test_the_official_form_and_the_hubs_say_the_same() -> None:
    official = choice(1)
    hub = {"id": "q1", "question": official["question"]["stem"], "answerKey": "B",
           "choices": {"label": [*"ABCD"], "text": [f"thing 1 {i}" for i in range(4)]}}  # fmt: skip
    assert one(GIVEN, official) == one(GIVEN, hub)
    assert one(GIVEN, official) == {
        "prompt": "Which thing of 1?",
        "candidates": [f"thing 1 {i}" for i in range(4)],
        "relevance": [0, 1, 0, 0],
        "group": "q1",
    }


def test_marks_out_of_turn_are_text() -> None:
    found = one(GIVEN, row("see Answer3: there", "b", "c"))
    assert found["candidates"] == ["see Answer3: there", "b", "c"]


def test_the_prompt_can_be_shaped_and_show_the_options() -> None:
    arc = ARC("Q: {question} {x}\nA:", True, "({option})", distractors="given")
    found = one(arc, row("a", "b"))
    assert found["prompt"] == "Q: Why? {x}\nA:\n(a)\n(b)" and found["rank"] == [1, 2]


def test_options_that_are_the_same_are_one_and_right_if_one_of_them_is() -> None:
    found = one(GIVEN, row("a", "b", "a", answer="answer3"))
    assert (found["candidates"], found["relevance"]) == (["a", "b"], [1, 0])


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
        (row("a", "a"), "no_options"),
        (row("a", "b", question=""), "empty_prompt"),
    ],
)
def test_rows_without_a_question_are_refused(change: dict[str, Any], reason: str) -> None:
    assert reasons(GIVEN, {**row("a", "b"), **change}) == [reason]


@pytest.mark.parametrize(
    ("field", "value"),
    [("template", "no question"), ("option", "- {question}"), ("list_size", 1)],
)
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ARC(**{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize(
    ("split", "sizes"), [("train", {4: 1117, 3: 1, 5: 1}), ("test", {4: 1165, 3: 4, 5: 3})]
)
def test_real_questions(split: str, sizes: dict[int, int]) -> None:
    rows = [r for _, r in read_rows(real("ranking", "arc_challenge", f"{split}.json.gz"))]
    kept, refused = made(GIVEN, *rows)
    assert not refused and Counter(len(r["candidates"]) for r in kept) == sizes
    kept, refused = made(ARC(), *rows)
    assert not refused and {len(r["candidates"]) for r in kept} == {10}
    assert all(sum(r["relevance"]) == 1 for r in kept)
