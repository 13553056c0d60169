"""Orders are drawn by seed and address; statistics of them against their definitions."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.evaluation.orders import DRAWS, ranked, ranks_of, sensitivity, shown_orders, tau


@pytest.mark.parametrize("first", [None, (3, 1, 2, 4)])
def test_orders_are_permutations_that_differ(first: tuple[int, ...] | None) -> None:
    found = shown_orders("a:1", 4, first, 20, 0)
    assert len(set(found)) == 20 and all(sorted(o) == [0, 1, 2, 3] for o in found)
    assert found == shown_orders("a:1", 4, first, 20, 0)
    assert found[:3] == shown_orders("a:1", 4, first, 3, 0)
    assert found != shown_orders("a:1", 4, first, 20, 1) != shown_orders("a:2", 4, first, 20, 1)
    if first:
        assert found[0] == (1, 2, 0, 3) and ranks_of(found[0]) == first


def test_of_two_candidates_there_are_two_orders_and_then_again() -> None:
    found = shown_orders("a:1", 2, None, 5, 0)
    assert len(found) == 5 and len(set(found)) == 2


def test_without_ties_there_is_one_order() -> None:
    assert ranked([0.1, 0.3, 0.2], "a", 0) == [[1, 2, 0]]


def test_equal_items_stand_everywhere() -> None:
    orders = ranked([1.0, 0.0, 0.0, 0.0], "a", 0)
    assert len(orders) == DRAWS and all(o[0] == 0 for o in orders)
    assert {o[1] for o in orders} == {1, 2, 3}


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_tau_is_its_definition_without_ties(one: list[int], other: list[int]) -> None:
    pairs = list(combinations(range(5), 2))
    agree = sum((one[i] < one[j]) == (other[i] < other[j]) for i, j in pairs)
    assert tau(one, other) == pytest.approx((2 * agree - len(pairs)) / len(pairs))
    assert tau(one, other) == tau(other, one) and tau(one, one) == pytest.approx(1)
    assert tau(one, [-x for x in one]) == pytest.approx(-1)


def test_tau_b_takes_ties_out_of_the_denominator() -> None:
    """(P - Q) / sqrt((P + Q + ties of one) (P + Q + ties of the other)), Kendall (1945)."""
    assert tau([1, 2, 2, 4], [1, 1, 2, 3]) == pytest.approx(4 / (5 * 5) ** 0.5)
    assert tau([1, 2, 2, 4], [0, 0, 0, 1]) == pytest.approx(3 / (5 * 3) ** 0.5)
    assert tau([1, 2, 2, 4], [3, 1, 1, 0]) == pytest.approx(-1)
    assert tau([1, 1, 1, 1], [1, 2, 3, 4]) is None


def test_a_ranking_that_never_moves_is_insensitive() -> None:
    orders = list(permutations(range(3)))
    scores = [[3.0, 1.0, 2.0]] * len(orders)
    found = sensitivity([0.7] * len(orders), scores, orders)
    assert found["order_sd"] == found["order_range"] == 0 and found["order_tau"] == 1
    assert found["position_bias"] == pytest.approx(0)  # over all orders


def test_one_that_copies_what_is_shown_is_all_position() -> None:
    orders = list(permutations(range(3)))
    scores = [[-float(r) for r in ranks_of(o)] for o in orders]
    found = sensitivity([0.0, 1.0] * 3, scores, orders)
    assert found["position_bias"] == pytest.approx(1) and found["order_range"] == 1
    assert found["order_tau"] == pytest.approx(-1 / 5)  # 15 pairs of orders, tau sums to -3
