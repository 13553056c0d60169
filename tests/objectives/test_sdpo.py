"""S-DPO: one better candidate against many."""

from __future__ import annotations

import math

import pytest
import torch

from bvrank.objectives.dpo import DPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.sdpo import SDPO
from tests.objectives.oracles import graded, lists


@pytest.mark.parametrize("gap", [-1e4, -45.0, -25.0, -3.0, 0.0, 0.4, 21.0, 30.0])
def test_against_one_it_is_dpo_to_the_last_digits(gap: float) -> None:
    prefs = lists([0, 1], [0.0, gap])
    for one, other in zip(graded(SDPO(0.5), prefs), graded(DPO(0.5), prefs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-15, atol=0)


def test_with_all_weight_on_one_item_irpo_is_it() -> None:
    """The softmax form, one relevant candidate: w = 1 at rank 1, 0 elsewhere."""
    scores = [0.3, -1.0, 2.0, 0.1, 0.7]
    for best in range(5):
        prefs = lists([float(i == best) for i in range(5)], scores)
        for one, other in zip(graded(SDPO(0.5), prefs), graded(IRPO(0.5, form="softmax"), prefs),
                              strict=True):  # fmt: skip
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)


def test_the_order_of_the_worse_ones_does_not_matter() -> None:
    scores = [0.3, -1.0, 2.0, 0.1]
    losses = [float(SDPO()(lists(y, scores)).loss) for y in ([3, 0, 1, 2], [3, 2, 0, 1])]
    assert losses[0] == losses[1]


def test_the_gradient_in_closed_form() -> None:
    """With p the softmax over the list: -(1 - p_w) on the best, p_l on each worse one."""
    p = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64).softmax(-1)
    _, gradient = graded(SDPO(1.0), lists([1, 0, 0], [0.3, -1.0, 2.0]))
    expected = [float(p[0]) - 1, float(p[1]), float(p[2])]
    assert gradient.flatten().tolist() == pytest.approx(expected, rel=1e-13)


def test_several_best_are_a_mean_and_no_rivals() -> None:
    both = SDPO(1.0)(lists([1, 1, 0], [0.3, 1.0, 2.0]))
    expected = (math.log(1 + math.exp(1.7)) + math.log(1 + math.exp(1.0))) / 2
    assert float(both.loss) == pytest.approx(expected, rel=1e-14)


def test_at_the_reference_it_is_the_log_of_the_size() -> None:
    assert float(SDPO()(lists([0, 0, 1, 0])).loss) == pytest.approx(math.log(4))
