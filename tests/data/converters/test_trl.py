from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.trl import TRL
from bvrank.data.files import read_rows
from tests.data.converters.raw import made, one, real, reasons, talk

BLUE = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}


def test_a_prompt_given_or_inside_as_text() -> None:
    assert one(TRL(), BLUE) == BLUE
    implicit = {k: BLUE["prompt"] + BLUE[k] for k in ("chosen", "rejected")}
    assert one(TRL(), implicit) == BLUE


def test_text_parts_between_words() -> None:
    row = {"chosen": "It is black", "rejected": "It is blue"}
    assert one(TRL(), row) == {"prompt": "It is", "chosen": " black", "rejected": " blue"}
    assert reasons(TRL(), {"chosen": "black", "rejected": "blue"}) == ["no_prompt"]


def test_a_prompt_given_or_inside_as_messages() -> None:
    said = {"chosen": talk("", "yes")[1:], "rejected": talk("", "no")[1:]}
    expected = {"prompt": talk("a", "b", "c"), "chosen": "yes", "rejected": "no"}
    assert one(TRL(), said | {"prompt": talk("a", "b", "c")}) == expected
    inside = {k: talk("a", "b", "c") + v for k, v in said.items()}
    assert one(TRL(), inside) == expected
    assert one(TRL(), inside | {"prompt": talk("a", "b", "c")}) == expected


def test_the_prompt_is_the_one_that_trl_finds() -> None:
    """But for text whose sides part inside a word."""
    trl = pytest.importorskip("trl.data_utils")
    for row in (
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        {k: talk("a", "b", "c", k) for k in ("chosen", "rejected")},
    ):
        theirs = trl.extract_prompt(row)
        ours = one(TRL(), row)
        assert ours["prompt"] == theirs["prompt"]
        if isinstance(theirs["chosen"], str):
            assert ours["chosen"] == theirs["chosen"]
        else:
            assert [ours["chosen"]] == [m["content"] for m in theirs["chosen"]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": "b", "label": True}, "missing"),
        ({"prompt": "a", "chosen": "b"}, "missing"),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "empty_prompt"),
        ({"chosen": talk("a", "b"), "rejected": talk("x", "c")}, "prompt_mismatch"),
        ({"chosen": talk("a", "b"), "rejected": talk("a", "b")}, "equal_sides"),
        ({"chosen": talk("a", "b"), "rejected": "c"}, "wrong_type"),
        ({"chosen": [], "rejected": []}, "prompt_mismatch"),
        ({"prompt": "a", "chosen": ["b", "c"], "rejected": "d"}, "wrong_type"),
    ],
)
def test_rows_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    assert reasons(TRL(), row) == [reason]


def test_real_dialogues_part_at_their_last_answer() -> None:
    path = real("pairs", "hh_harmless_base_test.jsonl.gz")
    kept, refused = made(TRL(), *(r for _, r in read_rows(path)))
    assert (len(kept), len(refused)) == (2303, 9)
