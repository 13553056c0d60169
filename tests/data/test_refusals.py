from __future__ import annotations

import json
from pathlib import Path

import pytest

from bvrank.data.refusals import (
    NO_PREFERENCE,
    UNUSED,
    Unfit,
    check_refused,
    summarise,
    write_refused,
)
from bvrank.errors import DataError
from bvrank.records import Refused

BAD = [Refused(f"a:{i}", "equal_sides", "both are the same") for i in (3, 5)]


def test_the_summary_counts_by_reason() -> None:
    assert summarise(2307, []) == "2,307 kept, 0 refused"
    mixed = [Refused("a:1", "missing", "x"), *BAD]
    assert summarise(7, mixed) == "7 kept, 3 refused (equal_sides 2, missing 1)"


def test_up_to_the_limit_all_is_well() -> None:
    check_refused(198, BAD, 0.01, "a")
    check_refused(1, [], 0.0, "a")


def test_over_the_limit_the_first_row_and_the_repair_are_told() -> None:
    with pytest.raises(DataError) as caught:
        check_refused(197, BAD, 0.01, "a.jsonl")
    told = str(caught.value)
    assert told.startswith("a.jsonl: 1.0% of the rows are faulty, more than 1.0%")
    assert "first a:3: both are the same" in told and "data.max_refused=0.02" in told
    check_refused(197, BAD, 0.02, "a.jsonl")
    level = Refused("a:7", NO_PREFERENCE, "no candidate is better than another")
    with pytest.raises(
        DataError, match=r"33\.3% of the rows are faulty, .* \(nothing_to_prefer: no"
    ):
        check_refused(4, [*BAD, level], 0.01, "a.jsonl")


def test_none_left_is_an_error_whatever_the_limit() -> None:
    with pytest.raises(DataError, match="no row is left"):
        check_refused(0, BAD, 1.0, "a")
    with pytest.raises(DataError, match="there are no rows"):
        check_refused(0, [], 1.0, "a")


def test_rows_of_other_views_are_no_fault() -> None:
    other = [Refused(f"a:{i}", UNUSED, "has no view full") for i in range(9)]
    check_refused(1, other, 0.0, "a")
    with pytest.raises(DataError, match="choose another objective"):
        check_refused(0, other, 0.0, "a")


def test_refused_rows_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "refused.jsonl"
    write_refused(path, [*BAD, Unfit("x", "\ud800").refused("a:9")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {"where": "a:3", "reason": "equal_sides", "detail": "both are the same"}
    assert len(rows) == 3 and list(path.parent.iterdir()) == [path]
