from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvrank.data.encoding import Listing
from bvrank.data.lists import Lists
from bvrank.errors import ConfigError, DataError
from bvrank.records import Candidate, Example, Message, Refused

ROW = {"prompt": "q", "candidates": ["a", "b", "c"], "relevance": [0, 2, 0.5]}


def file(folder: Path, *rows: Any, name: str = "l.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def rows(folder: Path, *given: Any, **kw: Any) -> list[Example | Refused]:
    return list(Lists(file(folder, *given), **kw).rows())


def test_a_list_becomes_candidates(tmp_path: Path) -> None:
    (example,) = rows(tmp_path, ROW)
    assert example == Example(
        "l.jsonl:1",
        (Message("user", "q"),),
        (
            Candidate("a", relevance=0.0, answer_id=0),
            Candidate("b", relevance=2.0, answer_id=1),
            Candidate("c", relevance=0.5, answer_id=2),
        ),
        None,
    )


def test_lists_may_be_ragged_shown_or_all_equal(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        ROW,
        {"prompt": "q", "candidates": ["a", "b"], "relevance": [0, 0]},
        {**ROW, "rank": [3, 1.0, 2]},
        {**ROW, "relevance": [True, False, True]},
        {**ROW, "prompt": [{"role": "user", "content": "q"}]},
    )
    assert [len(e.candidates) for e in found] == [3, 2, 3, 3, 3]
    assert found[2].shown == (3, 1, 2)
    assert [c.relevance for c in found[3].candidates] == [1.0, 0.0, 1.0]


def test_a_csv_cell_holds_a_list_as_json(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text('prompt,candidates,relevance\nq,"[""a"", ""b""]","[1, 0]"\n')
    (example,) = Lists(str(path)).rows()
    assert [c.answer for c in example.candidates] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"relevance": [1, 0]}, "relevance_length"),
        ({"relevance": [1, 0, float("nan")]}, "relevance_range"),
        ({"relevance": [1, 0, float("inf")]}, "relevance_range"),
        ({"relevance": [1, 0, -1]}, "relevance_range"),
        ({"relevance": [1, 0, 101]}, "relevance_range"),
        ({"relevance": [1, 0, 10**400]}, "relevance_range"),
        ({"relevance": [1, 0, "1"]}, "wrong_type"),
        ({"relevance": [1, 0, None]}, "wrong_type"),
        ({"relevance": None}, "missing"),
        ({"relevance": 1}, "wrong_type"),
        ({"candidates": ["a"], "relevance": [1]}, "too_few"),
        ({"candidates": [], "relevance": []}, "too_few"),
        ({"candidates": ["a", "b", "a"]}, "duplicates"),
        ({"candidates": ["a", "b", " "]}, "empty_candidate"),
        ({"candidates": ["a", "b", 3]}, "wrong_type"),
        ({"candidates": ["a", "b", None]}, "missing"),
        ({"candidates": "abc"}, "wrong_type"),
        ({"candidates": "[abc"}, "wrong_type"),
        ({"candidates": None}, "missing"),
        ({"rank": [1, 2]}, "rank_length"),
        ({"rank": [1, 2, 2]}, "bad_rank"),
        ({"rank": [0, 1, 2]}, "bad_rank"),
        ({"rank": [1, 2, 3.5]}, "bad_rank"),
        ({"rank": [1, 2, float("nan")]}, "bad_rank"),
        ({"rank": [True, 2, 3]}, "bad_rank"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": None}, "missing"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "prompt_end"),
    ],
)
def test_rows_that_are_no_lists(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    good, bad = rows(tmp_path, ROW, {**ROW, **change})
    assert isinstance(good, Example) and isinstance(bad, Refused)
    assert (bad.where, bad.reason) == ("l.jsonl:2", reason) and bad.detail


def test_columns_and_a_system_prompt_can_be_set(tmp_path: Path) -> None:
    (example,) = rows(
        tmp_path, {"q": "q", "c": ["a", "b"], "r": [1, 0], "k": [2, 1]}, prompt_column="q",
        candidates_column="c", relevance_column="r", rank_column="k", system="Rank.",
    )  # fmt: skip
    assert example.prompt[0] == Message("system", "Rank.") and example.shown == (2, 1)


def test_a_missing_column_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'relevance'.*Did you mean 'relevances'"):
        rows(tmp_path, {"prompt": "q", "candidates": ["a", "b"], "relevances": [1, 0]})
    with pytest.raises(DataError, match="no column 'place'"):
        rows(tmp_path, ROW, rank_column="place")


def test_how_items_stand_to_each_other_is_the_listing() -> None:
    assert Lists("l").listing == Listing()
    told = Lists("l", context="inlist", separator="; ")
    assert told.listing == Listing("inlist", "; ")
    assert told.held("h") == Lists("h", context="inlist", separator="; ")
    for kw, where in (({"separator": ","}, "separator"), ({"system": " "}, "system")):
        with pytest.raises(ConfigError) as caught:
            Lists("l", **kw)
        assert caught.value.where == where


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["[1, 0]", "[", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["role", "content"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@given(
    given_rows=st.lists(
        st.dictionaries(st.sampled_from(["prompt", "candidates", "relevance", "rank"]), JUNK),
        max_size=4,
    )
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_row_is_an_example_or_refused(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[dict[str, Any]]
) -> None:
    path = file(tmp_path_factory.getbasetemp(), ROW, *given_rows, name="fuzz.jsonl")
    found = list(Lists(path).rows())
    assert len(found) == len(given_rows) + 1
    for item in found:
        assert isinstance(item, Example | Refused)
        if isinstance(item, Example):
            assert len(item.candidates) > 1
            assert all(0 <= c.relevance <= 100 for c in item.candidates)
