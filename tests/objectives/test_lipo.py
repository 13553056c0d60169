"""LiPO weighs each pair by what swapping it would cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bvrank.objectives.dpo import DPO
from bvrank.objectives.lipo import LiPO
from tests.objectives.oracles import checked, graded, lists


@pytest.mark.parametrize("gap", [-1e4, -3.0, 0.0, 0.4, 30.0])
@pytest.mark.parametrize("gains", [(1, 0), (3, 1)])
def test_of_two_it_is_dpo_times_the_swap(gap: float, gains: tuple[int, int]) -> None:
    """Delta = |G_1 - G_2| |1/ln 2 - 1/ln 3|, whichever leads."""
    better, worse = gains
    swap = (2**better - 2**worse) * (1 / math.log(2) - 1 / math.log(3))
    prefs = lists([worse, better], [0.0, gap])
    for one, other in zip(graded(LiPO(0.5), prefs), graded(DPO(0.5), prefs), strict=True):
        torch.testing.assert_close(one, swap * other, rtol=1e-12, atol=1e-15)


def test_the_weights_carry_no_gradient_and_jump_where_scores_cross() -> None:
    here, there = lists([1, 0, 0], [0.0, 0.1, -1.0]), lists([1, 0, 0], [0.0, -0.1, -1.0])
    assert checked(LiPO(), here) and checked(LiPO(), there)
    first, second, third = (1 / math.log(1 + t) for t in (1, 2, 3))
    _, gradient = graded(LiPO(1.0), here)  # ranks: 2, 1, 3
    pulls = [(first - second) / (1 + math.exp(-0.1)), (second - third) / (1 + math.e)]
    assert gradient.flatten().tolist() == pytest.approx([-sum(pulls), *pulls])


def test_a_swap_near_the_top_weighs_more() -> None:
    _, gradient = graded(LiPO(1.0), lists([1, 0, 1, 0], [9.0, 8.9, 0.0, -0.1]))
    _, _, better, worse = gradient.flatten().tolist()
    assert abs(gradient.flatten()[1]) > abs(worse) > 0 and better < 0


def test_before_step_1_the_draw_ranks_and_rounding_does_not() -> None:
    prefs = lists([2, 1, 0])
    draw = torch.tensor([[[0.5, 0.9, 0.1]]]).double()  # ranks 2, 3, 1
    prefs = replace(prefs, draw=draw, length=torch.full((1, 1, 3), 60))
    d = [1 / math.log(1 + t) for t in (2, 3, 1)]
    weights = [2 * abs(d[0] - d[1]), 3 * abs(d[0] - d[2]), abs(d[1] - d[2])]
    for noise in (0.0, 3e-5, -3e-5):  # of fp32 over 60 tokens
        moved = replace(
            prefs, policy=torch.tensor([[[noise, -noise, noise / 2]]], dtype=torch.float64)
        )
        loss = float(LiPO(1.0)(moved).loss)
        assert loss == pytest.approx(sum(weights) * math.log(2), rel=1e-4)
    other = replace(prefs, draw=prefs.draw.flip(-1))
    assert float(LiPO(1.0)(other).loss) != pytest.approx(sum(weights) * math.log(2), rel=1e-3)
