"""The hinge loss pulls until the gap is 1, and then no more."""

from __future__ import annotations

import pytest

from bvrank.objectives.hinge import Hinge
from tests.objectives.oracles import graded, lists


@pytest.mark.parametrize("gap", [1.0 + 1e-12, 1.5, 30.0])
def test_beyond_1_nothing_pulls(gap: float) -> None:
    loss, gradient = graded(Hinge(0.5), lists([1, 0], [gap / 0.5, 0.0]))
    assert float(loss) == 0 and not bool(gradient.any())


@pytest.mark.parametrize("gap", [-3.0, 0.0, 0.99])
def test_below_1_the_pull_is_even(gap: float) -> None:
    loss, gradient = graded(Hinge(0.5), lists([0, 1], [0.0, gap / 0.5]))
    assert float(loss) == pytest.approx(1 - gap)
    assert gradient.flatten().tolist() == [0.5, -0.5]


def test_settled_pairs_of_a_list_leave_the_others_to_pull() -> None:
    _, gradient = graded(Hinge(1.0, pairs="whole_list"), lists([1, 0, 0], [0.0, -5.0, -0.5]))
    assert gradient.flatten().tolist() == [-0.5, 0, 0.5]
