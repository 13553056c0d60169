from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bvrank.data.converters.hotpotqa import HotpotQA
from bvrank.data.files import read_rows
from tests.data.converters.raw import hotpot, made, one, real, reasons

GIVEN = HotpotQA(distractors="given", tokens=3)


def test_paragraphs_whose_titles_are_needed_are_relevant() -> None:
    found = one(GIVEN, hotpot(1, 3))
    assert found == {
        "prompt": "What about 1?",
        "candidates": [f"Title 1 {i}: About Title 1" for i in range(3)],
        "relevance": [1, 1, 0],
        "group": "h1",
    }


def test_the_hubs_form_says_the_same() -> None:
    row = hotpot(1)
    hub = row | {
        "id": row["_id"],
        "context": {"title": [t for t, _ in row["context"]],
                    "sentences": [s for _, s in row["context"]]},
        "supporting_facts": {"title": [t for t, _ in row["supporting_facts"]],
                             "sent_id": [s for _, s in row["supporting_facts"]]},
    }  # fmt: skip
    del hub["_id"]
    assert one(GIVEN, hub) == one(GIVEN, row)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": " "}, "empty_prompt"),
        ({"question": None}, "missing"),
        ({"context": None}, "missing"),
        ({"context": [["a"]]}, "wrong_type"),
        ({"context": [["a", "b"]]}, "wrong_type"),
        ({"context": {"title": ["a"], "sentences": []}}, "wrong_type"),
        ({"supporting_facts": []}, "no_truth"),
        ({"supporting_facts": [["Title 1 0", 0], ["Title 1 9", 0]]}, "bad_answer"),
    ],
)
def test_rows_without_a_question_are_refused(change: dict[str, Any], reason: str) -> None:
    assert reasons(GIVEN, hotpot(1) | change) == [reason]


def test_real_questions() -> None:
    rows = [r for _, r in read_rows(real("ranking", "multihop_qa", "hotpotqa_train100.json.gz"))]
    kept, refused = made(HotpotQA(), *rows)
    assert (len(kept), refused) == (100, [])
    assert {len(r["candidates"]) for r in kept} == {10}
    assert {sum(r["relevance"]) for r in kept} == {2}
    plain, _ = made(HotpotQA(item="{text}"), *rows)
    assert max(len(c.split()) for r in plain for c in r["candidates"]) == 50
    as_given, _ = made(GIVEN, *rows)
    assert Counter(len(r["candidates"]) for r in as_given)[4] == 1
