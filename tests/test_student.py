"""Student's t against tables, and closed forms of few degrees of freedom."""

from __future__ import annotations

import math

import pytest

from bvrank.student import student, tails


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706205), (2, 4.302653), (5, 2.570582), (1e4, 1.960201)]
)
def test_quantiles(freedom: float, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=1e-6)
    assert tails(quantile, freedom) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("t", [0.1, 1.0, 7.0])
def test_of_one_and_two_degrees_of_freedom_in_closed_form(t: float) -> None:
    assert tails(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi)
    assert tails(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert tails(-t, 3.5) == tails(t, 3.5) and tails(0.0, 3.5) == 1
