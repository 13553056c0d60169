from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.shp import SHP
from bvrank.errors import ConfigError
from tests.data.converters.raw import made, one, raw, reasons


def row(**change: Any) -> dict[str, Any]:
    found: dict[str, Any] = raw("shp")[1]
    return found | change


def test_the_label_says_which_is_chosen() -> None:
    asked = {"prompt": "Why 1?", "group": "p1"}
    assert one(SHP(), row(labels=1)) == asked | {"chosen": "a", "rejected": "b"}
    assert one(SHP(), row(labels=0)) == asked | {"chosen": "b", "rejected": "a"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": 2}, "bad_answer"),
        ({"labels": None}, "bad_answer"),
        ({"labels": [1]}, "bad_answer"),
        ({"human_ref_A": None}, "missing"),
        ({"history": " "}, "empty_prompt"),
        ({"score_A": 3, "score_B": 3}, "nothing_to_prefer"),
        ({"human_ref_A": "b"}, "equal_sides"),
    ],
)
def test_rows_without_a_pair_are_refused(change: dict[str, Any], reason: str) -> None:
    assert reasons(SHP(), row(**change)) == [reason]


def test_weak_pairs_are_left_out() -> None:
    kept, refused = made(SHP(min_ratio=3.0), *raw("shp"))
    assert len(kept) == 4 and {r.reason for r in refused} == {"weak_preference"}
    assert reasons(SHP(min_ratio=3.0), row(score_ratio=None)) == ["bad_score"]
    for bad in (0.5, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="1 or more"):
            SHP(min_ratio=bad)
