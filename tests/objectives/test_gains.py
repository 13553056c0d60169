"""Weights of places, against every order that ties allow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.objectives.gains import WEIGHTS, rank_weights
from tests.objectives.oracles import weights

TIES = ("averaged", "order")


def computed(y: list[float], key: list[float], weight: Any, ties: Any) -> torch.Tensor:
    relevance, keys = torch.tensor(y, dtype=torch.float64), torch.tensor(key, dtype=torch.float64)
    return rank_weights(relevance, keys, torch.ones(len(y)) > 0, weight, ties, 2, 0.5)


graded = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 2)),
                  min_size=1, max_size=5)  # fmt: skip


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("weight", WEIGHTS)
@settings(max_examples=25, deadline=None)
@given(rows=graded)
def test_weights_are_the_oracles(weight: str, ties: str, rows: list[tuple[float, int]]) -> None:
    y, key = [r for r, _ in rows], [float(k) for _, k in rows]
    expected = torch.tensor(weights(y, key, weight, ties, 2, 0.5), dtype=torch.float64)
    torch.testing.assert_close(computed(y, key, weight, ties), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", WEIGHTS)
@given(rows=graded, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_averaged_ties_know_no_order(weight: str, rows: list[Any], seed: int) -> None:
    y, key = [r for r, _ in rows], [float(k) for _, k in rows]
    turn = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    there = computed([y[i] for i in turn], [key[i] for i in turn], weight, "averaged")
    here = computed(y, key, weight, "averaged")[turn]
    torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_padding_takes_no_place_and_no_weight(weight: Any, ties: Any) -> None:
    y = torch.tensor([2.0, 9.0, 1.0, 0.0, 1.0]).double()
    valid = torch.tensor([True, False, True, True, True])
    within = rank_weights(y, y, valid, weight, ties, 2, 0.5)
    alone = rank_weights(y[valid], y[valid], valid[valid], weight, ties, 2, 0.5)
    assert within[1] == 0
    assert torch.equal(within[valid], alone)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_nothing_relevant_weighs_nothing(weight: Any) -> None:
    assert computed([0.0, 0.0, 0.0], [3.0, 2.0, 1.0], weight, "order").tolist() == [0, 0, 0]


def test_closed_forms() -> None:
    y, key = [1.0, 0.0, 2.0], [3.0, 2.0, 1.0]  # ranks 1, 2, 3
    log3, log4 = math.log2(3), math.log2(4)
    expected = {
        "dcg": [1, 0, 3 / log4],
        "p_at_k": [1, 0, 0],  # k = 2
        "map": [1 / 2, 0, 2 / 3 / 2],
        "mrr": [1, 0, 0],
        "edcg": [1, 0, 3 * math.exp(-1)],  # decay 0.5
        "no_relevance": [1, 1 / log3, 1 / log4],
        "reciprocal": [1, 0, 1],
    }
    assert set(expected) == set(WEIGHTS)
    for weight, values in expected.items():
        assert computed(y, key, weight, "averaged").tolist() == pytest.approx(values)


def test_tied_first_relevant_share_the_reciprocal() -> None:
    """Three tied, two of them relevant: one is first on place 1 (2/3 of orders) or on 2 (1/3)."""
    w = computed([1.0, 0.0, 1.0], [0.0, 0.0, 0.0], "mrr", "averaged").tolist()
    assert w == pytest.approx([(2 / 3 + 1 / 3 / 2) / 2, 0, (2 / 3 + 1 / 3 / 2) / 2])
