from __future__ import annotations

import pytest

from bvrank.data.converters.commonsenseqa import CommonsenseQA
from bvrank.data.files import read_rows
from tests.data.converters.raw import choice, made, one, real, reasons


def test_the_answer_is_relevant() -> None:
    found = one(CommonsenseQA(distractors="given"), choice(3, "E", 5))
    assert found["relevance"] == [0, 0, 0, 0, 1] and found["group"] == "q3"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answerKey": "Z"}, "bad_answer"),
        ({"answerKey": ""}, "bad_answer"),
        ({"answerKey": None}, "missing"),
        ({"question": {"stem": "x"}}, "no_options"),
        ({"question": {"stem": "x", "choices": {"label": ["A"], "text": []}}}, "wrong_type"),
        ({"question": {"stem": "x", "choices": choice(1)["question"]["choices"] * 2}},
         "duplicates"),
        ({"question": choice(1)["question"] | {"stem": " "}}, "empty_prompt"),
    ],
)  # fmt: skip
def test_rows_without_a_question_are_refused(change: dict[str, object], reason: str) -> None:
    assert reasons(CommonsenseQA(), choice(1) | change) == [reason]


def test_real_questions() -> None:
    path = real("ranking", "commonsenseqa", "dev_rand_split.jsonl.gz")
    kept, refused = made(CommonsenseQA(), *(r for _, r in read_rows(path)))
    assert (len(kept), refused) == (1221, [])
    assert all(sum(r["relevance"]) == 1 and len(r["candidates"]) == 10 for r in kept)
