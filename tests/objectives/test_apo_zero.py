"""APO-zero raises the better and lowers the worse side, each by itself."""

from __future__ import annotations

import math

import pytest

from bvrank.objectives.apo_zero import APOZero
from tests.objectives.oracles import graded, lists


def slope(s: float) -> float:
    return math.exp(-s) / (1 + math.exp(-s)) ** 2


@pytest.mark.parametrize("w", [-4.0, 0.0, 1.3])
@pytest.mark.parametrize("x", [-2.0, 0.5])
def test_loss_and_gradient_in_closed_form(w: float, x: float) -> None:
    loss, gradient = graded(APOZero(0.5), lists([1, 0], [w, x]))
    a, b = 0.5 * w, 0.5 * x
    assert float(loss) == pytest.approx(1 - 1 / (1 + math.exp(-a)) + 1 / (1 + math.exp(-b)))
    assert gradient.flatten().tolist() == pytest.approx([-0.5 * slope(a), 0.5 * slope(b)])


def test_the_sides_do_not_know_each_other() -> None:
    gradients = [graded(APOZero(), lists([1, 0], [0.7, x]))[1][0, 0, 0] for x in (-3.0, 9.0)]
    assert gradients[0] == gradients[1] < 0


def test_at_the_reference_the_loss_is_1_and_it_never_leaves_0_to_2() -> None:
    assert float(APOZero()(lists([1, 0])).loss) == 1
    assert float(APOZero(1.0)(lists([1, 0], [50.0, -50.0])).loss) == pytest.approx(0, abs=1e-20)
    assert float(APOZero(1.0)(lists([1, 0], [-50.0, 50.0])).loss) == pytest.approx(2)
