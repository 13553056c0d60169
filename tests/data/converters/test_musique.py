from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bvrank.data.converters.musique import MuSiQue
from bvrank.data.files import read_rows
from tests.data.converters.raw import made, musique, one, real, reasons

GIVEN = MuSiQue(distractors="given", list_size=None)


def test_supporting_paragraphs_are_relevant() -> None:
    assert one(GIVEN, musique(1, 5))["relevance"] == [1, 1, 1, 0, 0]


def test_a_shorter_list_keeps_all_that_are() -> None:
    found = one(MuSiQue(distractors="given", list_size=4), musique(1))
    assert len(found["candidates"]) == 4 and sum(found["relevance"]) == 3
    assert reasons(MuSiQue(list_size=3), musique(1)) == ["no_room"]


def test_questions_without_an_answer_are_left_out_unless_asked_for() -> None:
    assert reasons(GIVEN, musique(1, answerable=False)) == ["no_truth"]
    every = MuSiQue(distractors="given", answerable_only=False)
    assert sum(one(every, musique(1, answerable=False))["relevance"]) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"paragraphs": None}, "missing"),
        ({"paragraphs": [3]}, "wrong_type"),
        ({"paragraphs": [{"title": "a", "paragraph_text": "b"}]}, "wrong_type"),
        ({"paragraphs": musique(1)["paragraphs"][3:]}, "no_truth"),
        ({"question": ""}, "empty_prompt"),
    ],
)
def test_rows_without_a_question_are_refused(change: dict[str, Any], reason: str) -> None:
    assert reasons(GIVEN, musique(1) | change) == [reason]


def test_real_questions() -> None:
    rows = [r for _, r in read_rows(real("ranking", "multihop_qa", "musique_train100.json.gz"))]
    kept, refused = made(MuSiQue(), *rows)
    assert (len(kept), refused) == (100, [])
    assert {len(r["candidates"]) for r in kept} == {10}
    assert Counter(sum(r["relevance"]) for r in kept) == {2: 68, 3: 27, 4: 5}
