"""NDCG of lists by likelihood, against the definition."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import pytest

from bvrank.data.lists import Lists as Source
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.lists import Lists, ndcg
from bvrank.records import Message
from bvrank.sampling.local import Transformers
from tests.commands.fast import write
from tests.evaluation.test_likelihood import TEMPLATE, Weights


def dcg(order: list[float], k: int) -> float:
    return sum((2**y - 1) / math.log2(i + 2) for i, y in enumerate(order[:k]))


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_ndcg_is_its_definition(k: int) -> None:
    relevance = [0.0, 2.0, 1.0, 0.0]
    for scores in permutations([-1.0, -2.0, -3.0, -4.0]):
        order = [y for _, y in sorted(zip(scores, relevance, strict=True), reverse=True)]
        wanted = dcg(order, k) / dcg([2.0, 1.0, 0.0, 0.0], k)
        assert ndcg(relevance, scores, k) == pytest.approx(wanted)


def test_equal_items_are_the_mean_over_their_orders() -> None:
    relevance = [2.0, 0.0, 1.0, 1.0]
    orders = [[1.0, *p] for p in permutations([2.0, 0.0, 1.0])]
    wanted = sum(dcg(list(o), 2) for o in orders) / len(orders) / dcg([2.0, 1.0], 2)
    assert ndcg(relevance, [-5.0, -5.0, -5.0, -1.0], 2) == pytest.approx(wanted)


def test_items_are_ranked_by_plain_log_probs(tmp_path: Path) -> None:
    ranked = {"prompt": "q", "candidates": ["a", "bb", "c"], "relevance": [0, 2, 1]}
    rows = [ranked, {"prompt": "r", "candidates": ["d", "e"], "relevance": [0, 0]}, {"prompt": 1}]
    source = Source(str(write(tmp_path / "l.jsonl", rows)))
    policy = Weights()
    desk = Desk(tmp_path, ("thinking",), 0, Transformers(), policy)
    found = Lists("t", source, [1, 3]).measure(desk)
    front = TEMPLATE.ids([TEMPLATE.prompt_text((Message("user", "q"),), "plain")])[0]
    ended = [[*TEMPLATE.ids([text])[0], TEMPLATE.end_id] for text in ("a", "bb", "c")]
    scores = [policy.plain(front, ids) for ids in ended]
    for k in (1, 3):
        assert [*found.cells[f"ndcg@{k}"].values()] == [ndcg([0, 2, 1], scores, k)]
    assert found.counts["nothing_relevant"] == 1 and sum(found.counts.values()) == 2
    with pytest.raises(DataError, match="no list that can be ranked"):
        empty = Source(str(write(tmp_path / "e.jsonl", rows[1:2])))
        Lists("t", empty).measure(desk)


@pytest.mark.parametrize("k", [[], [0]])
def test_k_is_from_one(k: list[int]) -> None:
    with pytest.raises(ConfigError):
        Lists("t", None, k)
