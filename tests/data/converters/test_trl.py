from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.argilla import Argilla
from bvrank.data.converters.llamafactory import LLaMAFactory
from bvrank.data.converters.openai import OpenAI
from bvrank.data.converters.shp import SHP
from bvrank.data.converters.trl import TRL
from bvrank.data.converters.ultrafeedback import UltraFeedback
from bvrank.data.files import read_rows
from tests.data.converters.raw import made, one, raw, real, reasons, talk

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


@pytest.mark.parametrize(
    ("name", "converter"),
    [("llamafactory", LLaMAFactory()), ("argilla", Argilla()), ("ultrafeedback", UltraFeedback()),
     ("shp", SHP()), ("openai", OpenAI())],
)  # fmt: skip
def test_rows_of_another_form_are_told_what_reads_them(name: str, converter: Any) -> None:
    rows = raw(name)
    kept, refused = made(TRL(), *rows)
    assert kept == [] and len(refused) == len(rows) == len(made(converter, *rows)[0])
    assert all(f"from={name} reads " in r.detail for r in refused)


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"instruction": "a", "chosen": "It is b", "rejected": "It is c"}, "from=llamafactory"),
        ({"instruction": "a", "chosen": talk("", "b")[1:], "rejected": talk("", "c")[1:]},
         "from=llamafactory"),
        ({"question": "a", "chosen": "It is b", "rejected": "It is c"}, "from=argilla"),
        ({"instruction": "a", "input": "", "output": "b"}, "'output' is one answer"),
        ({"instruction": "a\nAnswer1: b Answer2: c", "output": "x", "answer": "answer1"},
         "from=arc"),
    ],
)  # fmt: skip
def test_a_prompt_in_another_column_is_never_left_out(row: dict[str, Any], detail: str) -> None:
    """The words that both sides begin with would stand in its place."""
    kept, refused = made(TRL(), row)
    assert kept == [] and detail in refused[0].detail


def test_a_prompt_inside_both_sides_counts_whatever_else_a_row_has() -> None:
    row = {k: talk("a", "b", "c", k) for k in ("chosen", "rejected")}
    assert one(TRL(), row | {"instruction": "x"}) == one(TRL(), row)
    assert one(TRL(), BLUE | {"instruction": "x"}) == BLUE


def test_real_rows_of_alpaca_are_told_what_reads_them() -> None:
    path = real("pairs", "rasbt_instruction_data_with_preference.json")
    kept, refused = made(TRL(), *(r for _, r in read_rows(path)))
    assert (len(kept), {r.detail for r in refused}) == (
        0, {"no row of TRL: from=llamafactory reads instruction, chosen, rejected"}
    )  # fmt: skip


def test_real_dialogues_part_at_their_last_answer() -> None:
    path = real("pairs", "hh_harmless_base_test.jsonl.gz")
    kept, refused = made(TRL(), *(r for _, r in read_rows(path)))
    assert (len(kept), len(refused)) == (2303, 9)
