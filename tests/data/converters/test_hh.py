from __future__ import annotations

import pytest

from bvrank.data.converters import Draft
from bvrank.data.converters.hh import HH
from bvrank.data.files import read_rows
from bvrank.data.grouping import parted
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


def test_no_real_dialogue_stands_on_both_sides() -> None:
    """2,303 pairs of 2,168 dialogues: one in ten goes on in another row."""
    path = real("pairs", "hh_harmless_base_test.jsonl.gz")
    drafts = [d for where, row in read_rows(path) for d in HH().convert(where, row)]
    train, test = parted([d for d in drafts if isinstance(d, Draft)], 0.5, 0)
    openings, held = (  # compared as numbers alone: what these dialogues say is not for logs
        [_first(d.content["prompt"]) for d in side] for side in (train, test)
    )
    rows, dialogues = len(openings) + len(held), len({*openings, *held})
    shared = len({*openings} & {*held})
    assert (rows, dialogues, shared) == (2303, 2168, 0)


def _first(prompt: str | list[dict[str, str]]) -> str:
    said = prompt if isinstance(prompt, str) else prompt[0]["content"]
    return " ".join(said.split()).casefold()
