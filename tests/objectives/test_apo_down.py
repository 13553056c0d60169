"""APO-down lowers both sides, the worse one more."""

from __future__ import annotations

import math

import pytest

from bvrank.objectives.apo_down import APODown
from tests.objectives.oracles import graded, lists


def slope(s: float) -> float:
    return math.exp(-s) / (1 + math.exp(-s)) ** 2


@pytest.mark.parametrize("w", [-4.0, 0.0, 1.3])
@pytest.mark.parametrize("x", [-2.0, 0.5])
def test_loss_and_gradient_in_closed_form(w: float, x: float) -> None:
    loss, gradient = graded(APODown(0.5), lists([1, 0], [w, x]))
    a, gap = 0.5 * w, 0.5 * (w - x)
    assert float(loss) == pytest.approx(1 / (1 + math.exp(-a)) + 1 - 1 / (1 + math.exp(-gap)))
    expected = [0.5 * (slope(a) - slope(gap)), 0.5 * slope(gap)]
    assert gradient.flatten().tolist() == pytest.approx(expected, abs=1e-15)


def test_once_the_gap_is_wide_both_sides_are_lowered() -> None:
    _, gradient = graded(APODown(1.0), lists([1, 0], [-0.5, -1.5]))
    better, worse = gradient.flatten().tolist()
    assert better > 0 and worse > 0
    _, start = graded(APODown(1.0), lists([1, 0]))
    assert start.flatten().tolist() == [0, 0.25]  # at the reference the worse side alone


def test_at_the_reference_the_loss_is_1() -> None:
    assert float(APODown()(lists([1, 0])).loss) == 1
