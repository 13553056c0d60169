"""Measures against values by hand and the definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bvrank.errors import ConfigError

pytest.importorskip("ir_measures")

from bvrank.evaluation.measures import check_measures, per_query

GRADES = [0, 2, 1, 0, 1]  # in the order of the scores
JUDGED = {"q": {f"d{i}": g for i, g in enumerate(GRADES)} | {"x": 1}}
RANKED = {"q": {f"d{i}": 10.0 - i for i in range(5)}}


def dcg(gains: Sequence[float]) -> float:
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains))


def ndcg(k: int, exponential: bool) -> float:
    gain = (lambda g: 2.0**g - 1) if exponential else float
    ideal = sorted(JUDGED["q"].values(), reverse=True)
    return dcg([gain(g) for g in GRADES[:k]]) / dcg([gain(g) for g in ideal[:k]])


@pytest.mark.parametrize(
    ("name", "value"),
    [("ndcg@3", ndcg(3, False)), ("ndcg", ndcg(9, False)), ("ndcg_exp@3", ndcg(3, True)),
     ("ndcg_exp", ndcg(9, True)), ("recall@3", 2 / 4), ("p@3", 2 / 3), ("mrr", 1 / 2),
     ("mrr@1", 0.0), ("map", (1 / 2 + 2 / 3 + 3 / 5) / 4)],
)  # fmt: skip
def test_every_measure_by_hand(name: str, value: float) -> None:
    assert per_query([name], JUDGED, RANKED)[name] == {"q": pytest.approx(value, abs=1e-6)}


def test_both_gains_in_one_call_and_the_same_for_grades_of_one() -> None:
    names = ["ndcg@5", "ndcg_exp@5"]
    binary = {"q": {d: min(g, 1) for d, g in JUDGED["q"].items()}}
    one, both = per_query(names, binary, RANKED), per_query(names, JUDGED, RANKED)
    assert one["ndcg@5"] == one["ndcg_exp@5"] and both["ndcg@5"] != both["ndcg_exp@5"]


def test_the_order_is_that_of_scores_and_ties_fall_by_name() -> None:
    judged = {"q": {"a": 1, "b": 0}}
    assert per_query(["mrr"], judged, {"q": {"a": 1.0, "b": 1.0}})["mrr"] == {"q": 0.5}
    assert per_query(["mrr"], judged, {"q": {"b": 1.0, "a": 2.0}})["mrr"] == {"q": 1.0}


def test_a_query_without_relevant_documents_is_0_and_one_of_a_single_side_is_none() -> None:
    judged = {"q": {"a": 0}, "r": {"a": 1}, "s": {"a": 1}}
    found = per_query(["ndcg", "map"], judged, {"q": {"a": 1.0}, "r": {"a": 1.0}, "t": {"a": 1.0}})
    assert found == {name: {"q": 0.0, "r": 1.0} for name in ("ndcg", "map")}


@pytest.mark.parametrize("names", [[], ["ndcg@0"], ["recall"], ["p"], ["NDCG@5"], ["bpref"]])
def test_what_is_no_measure(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="is no measure"):
        check_measures(names, "measures")


def test_a_gain_beyond_integers_is_refused() -> None:
    with pytest.raises(ConfigError, match="relevance 31 is too large"):
        per_query(["ndcg_exp"], {"q": {"a": 31}}, {"q": {"a": 1.0}})
