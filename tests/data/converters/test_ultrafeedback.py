from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.ultrafeedback import UltraFeedback
from bvrank.errors import ConfigError
from tests.data.converters.raw import made, one, rated, reasons, talk

BINARY = {"prompt": "Q", "chosen": talk("Q", "y"), "rejected": talk("Q", "n"),
          "score_chosen": 8.0, "score_rejected": 6.5}  # fmt: skip


def test_the_best_rated_stands_against_the_worst() -> None:
    row = rated(1, 3, 5, 1, 4)
    assert one(UltraFeedback(), row) == {
        "prompt": "Do 1", "chosen": "answer 1 1", "rejected": "answer 1 2",
    }  # fmt: skip
    overall = one(UltraFeedback(score="overall"), row)  # which the helper turns round
    assert (overall["chosen"], overall["rejected"]) == ("answer 1 2", "answer 1 1")


def test_the_score_is_the_mean_of_the_aspects_that_were_rated() -> None:
    row = rated(1, 3, 4)
    row["completions"][0]["annotations"] = {"a": {"Rating": "N/A"}, "b": {"Rating": "5"}}
    assert one(UltraFeedback(), row)["chosen"] == "answer 1 0"
    graded = one(UltraFeedback(kind="lists"), rated(1, 3, 4.25))
    assert graded["relevance"] == [3, 4.25]


def test_lists_hold_all_responses_once() -> None:
    row = rated(1, 1, 5, 3)
    row["completions"][2]["response"] = "answer 1 0"
    assert one(UltraFeedback(kind="lists"), row) == {
        "prompt": "Do 1", "candidates": ["answer 1 0", "answer 1 1"], "relevance": [3, 5],
    }  # fmt: skip
    assert reasons(UltraFeedback(kind="lists"), BINARY) == ["missing"]
    assert reasons(UltraFeedback(kind="lists"), rated(1, 2, 2)) == ["nothing_to_prefer"]
    assert reasons(UltraFeedback(kind="lists"), rated(1, 2)) == ["too_few"]


def test_binarized_pairs() -> None:
    expected = {"prompt": "Q", "chosen": "y", "rejected": "n"}
    assert one(UltraFeedback(), BINARY) == expected
    without = {k: v for k, v in BINARY.items() if k != "prompt"}
    assert one(UltraFeedback(), without) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (BINARY | {"score_rejected": 8.0}, "nothing_to_prefer"),
        (BINARY | {"score_rejected": 9.0}, "bad_score"),
        (BINARY | {"score_rejected": None}, "bad_score"),
        (BINARY | {"score_rejected": 7.5}, "weak_preference"),
        (BINARY | {"prompt": "other"}, "prompt_mismatch"),
        (rated(1, 2, 2), "nothing_to_prefer"),
        (rated(1, 2, 2.5), "weak_preference"),
        (rated(1, 2), "too_few"),
        (rated(1, 2, 4) | {"instruction": ""}, "empty_prompt"),
        ({"instruction": "x", "completions": 3}, "wrong_type"),
        ({"instruction": "x", "completions": [{"response": "a"}]}, "bad_score"),
        ({"instruction": "x", "completions": [{"response": "a", "annotations": {}}]}, "bad_score"),
    ],
)
def test_rows_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    assert reasons(UltraFeedback(min_gap=1.0), row) == [reason]


def test_ties_are_counted_and_are_no_fault() -> None:
    kept, refused = made(UltraFeedback(), *(rated(i, 1, 1 + i % 2) for i in range(10)))
    assert len(kept) == 5 and [r.reason for r in refused] == ["nothing_to_prefer"] * 5


@pytest.mark.parametrize(
    "keys",
    [
        {"min_gap": -1.0},
        {"kind": "lists", "min_gap": 1.0},
        {"kind": "lists", "pick": "best_random"},
    ],
)
def test_settings_that_do_not_fit_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        UltraFeedback(**keys)
