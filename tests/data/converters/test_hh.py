from __future__ import annotations

import pytest

from bvrank.data.converters.hh import HH
from bvrank.data.files import read_rows
from tests.data.converters.raw import made, one, real, reasons


def test_the_prompt_is_all_up_to_the_last_answer() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert one(HH(), {"chosen": f"{start} yes", "rejected": f"{start} no"}) == {
        "prompt": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "chosen": "yes",
        "rejected": "no",
    }


@pytest.mark.parametrize(
    ("rejected", "reason"),
    [
        ("\n\nHuman: other\n\nAssistant: no", "prompt_mismatch"),
        ("\n\nHuman: a\n\nAssistant: yes", "equal_sides"),
        ("\n\nHuman: a\n\nAssistant:", "empty_answer"),
        ("no dialogue", "no_prompt"),
        (None, "missing"),
        (3, "wrong_type"),
    ],
)
def test_rows_without_a_pair_are_refused(rejected: object, reason: str) -> None:
    row = {"chosen": "\n\nHuman: a\n\nAssistant: yes", "rejected": rejected}
    assert reasons(HH(), row) == [reason]


def test_real_dialogues() -> None:
    """2,312 rows: in 5 the prompts differ, in 4 the chosen one has no last answer."""
    path = real("pairs", "hh_harmless_base_test.jsonl.gz")
    kept, refused = made(HH(), *(r for _, r in read_rows(path)))
    why = [r.reason for r in refused]
    assert (len(kept), why.count("prompt_mismatch"), why.count("empty_answer")) == (2303, 5, 4)
