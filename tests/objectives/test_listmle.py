"""ListMLE is the likelihood of an order."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch

from bvrank.objectives.dpo import DPO
from bvrank.objectives.listmle import ListMLE
from tests.objectives.oracles import graded, lists

SCORES = [0.3, -1.0, 2.0, 0.1]


@pytest.mark.parametrize("gap", [-1e4, -25.0, -3.0, 0.0, 0.4, 30.0])
def test_of_two_it_is_dpo(gap: float) -> None:
    prefs = lists([0, 1], [0.0, gap])
    for one, other in zip(graded(ListMLE(0.5), prefs), graded(DPO(0.5), prefs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_over_all_orders_the_chances_add_up_to_1() -> None:
    losses = [float(ListMLE(0.7)(lists(list(y), SCORES)).loss) for y in permutations(range(4))]
    assert sum(math.exp(-x) for x in losses) == pytest.approx(1, rel=1e-13)
    best = min(losses)
    assert best == losses[[*permutations(range(4))].index((2, 0, 3, 1))]


def test_equal_relevance_is_ordered_by_the_draw() -> None:
    prefs = lists([1, 0, 1, 0], SCORES)
    drawn = replace(prefs, draw=torch.tensor([[[0.9, 0.1, 0.2, 0.4]]]).double())
    strict = ListMLE()(lists([2, 1, 3, 0], SCORES)).loss
    assert torch.equal(ListMLE()(drawn).loss, strict)
    other = replace(prefs, draw=torch.tensor([[[0.1, 0.9, 0.2, 0.4]]]).double())
    assert torch.equal(ListMLE()(other).loss, ListMLE()(lists([3, 0, 2, 1], SCORES)).loss)


def test_at_the_reference_every_order_is_as_likely() -> None:
    assert float(ListMLE()(lists([2, 0, 3, 1])).loss) == pytest.approx(math.log(24))


@pytest.mark.parametrize("scores", [[1e4, 0, -1e4], [-1e4, 1e4, 0], [0, -1e4, 1e4], [-1e4, 0, 1e4]])
def test_huge_scores_stay_finite(scores: list[float]) -> None:
    loss, gradient = graded(ListMLE(1.0), lists([2, 1, 0], scores))
    a, b, c = scores
    assert float(loss) == pytest.approx(max(a, b, c) - a + max(b, c) - b, abs=1e-12)
    expected = [float(x) for x in (-(a < max(b, c)), 0, 0)]
    expected[1 if b > max(a, c) else 2] += float(a < max(b, c))
    expected[1], expected[2] = expected[1] - (b < c), expected[2] + (b < c)
    assert gradient.flatten().tolist() == pytest.approx(expected, abs=1e-12)
