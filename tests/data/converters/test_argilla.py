from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.argilla import Argilla
from bvrank.errors import ConfigError
from tests.data.converters.raw import one, raw, reasons, talk

CLEANED = {"prompt": "Q", "chosen": talk("Q", "y"), "chosen-rating": 5.0,
           "rejected": talk("Q", "n"), "rejected-rating": 3.75}  # fmt: skip
EARLIER = {"instruction": "Q", "chosen_response": "y", "chosen_avg_rating": 5.0,
           "rejected_response": "n", "rejected_avg_rating": 3.75}  # fmt: skip
ORCA = {"system": "Be.", "input": "Q", "chosen": "y", "rejected": "n", "rating": [9, 7],
        "status": "unchanged"}  # fmt: skip
RATED = raw("argilla")[0]


def test_every_form_gives_the_same_pair() -> None:
    expected = {"prompt": "Q", "chosen": "y", "rejected": "n"}
    assert one(Argilla(), CLEANED) == one(Argilla(), EARLIER) == expected
    system = [{"role": "system", "content": "Be."}, {"role": "user", "content": "Q"}]
    assert one(Argilla(), ORCA) == expected | {"prompt": system}
    assert one(Argilla(), ORCA | {"system": ""}) == expected


def test_a_conversation_of_several_turns_stays_one() -> None:
    row = CLEANED | {k: talk("Q", "A", "R", k) for k in ("chosen", "rejected")}
    assert one(Argilla(), row)["prompt"] == talk("Q", "A", "R")


def test_of_rated_answers_the_best_stands_against_the_worst() -> None:
    expected = {"prompt": "Do 0", "chosen": "a 0 1", "rejected": "a 0 0"}
    assert one(Argilla(), RATED) == expected
    gaps = RATED | {"ratings": [None, 5, 3, 4.5]}  # a judge that gave no answer
    assert one(Argilla(), gaps)["rejected"] == "a 0 2"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (CLEANED | {"rejected-rating": 5.0}, "nothing_to_prefer"),
        (CLEANED | {"rejected-rating": 4.5}, "weak_preference"),
        (EARLIER | {"rejected_avg_rating": "x"}, "bad_score"),
        (CLEANED | {"rejected": talk("R", "n")}, "prompt_mismatch"),
        (ORCA | {"status": "tie"}, "nothing_to_prefer"),
        (ORCA | {"input": None}, "no_prompt"),
        (ORCA | {"rejected": None}, "missing"),
        (RATED | {"ratings": [1]}, "bad_score"),
        (RATED | {"ratings": 3}, "wrong_type"),
        (RATED | {"ratings": [2, 2, 2, 2]}, "nothing_to_prefer"),
        ({}, "no_prompt"),
    ],
)
def test_rows_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    assert reasons(Argilla(min_gap=1.0), row) == [reason]


def test_a_gap_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError):
        Argilla(min_gap=float("nan"))
