"""The randomisation test against brute force, and at the level that it says."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from bvrank.signs import MOST, differing, one_size, p_value


@pytest.mark.parametrize(
    ("right", "of", "p"),
    [(4, 4, 0.125), (5, 5, 0.0625), (6, 6, 0.03125), (1, 6, 0.21875), (3, 6, 1.0), (0, 1, 1.0)],
)
def test_one_size_is_the_sign_test(right: int, of: int, p: float) -> None:
    gaps = np.array([0.25] * right + [-0.25] * (of - right))
    assert one_size(gaps) and p_value(gaps, 0, 10) == p == p_value(-gaps, 1, 10)


@pytest.mark.parametrize("m", [*range(1, 12), 200, 3000])
def test_no_level_is_exceeded(m: int) -> None:
    """The chance of a p that small, over all outcomes, is no larger."""
    for level in (0.05, 0.01, 0.005, 0.001):
        right = 0
        while p_value(np.repeat([1.0, -1.0], [right, m - right]), 0, 1) <= level:
            right += 1
        assert 2 * sum(comb(m, k) for k in range(right)) / 2**m <= level


def test_of_several_sizes_it_is_the_share_of_all_signs() -> None:
    gaps = np.array([0.5, 0.25, -0.25, 0.75, 1.0, 0.5, -0.125])
    sums = [sum(s * g for s, g in zip(signs, gaps, strict=True))
            for signs in product((-1, 1), repeat=7)]  # fmt: skip
    wanted = np.mean([abs(x) >= abs(gaps.sum()) for x in sums])
    assert p_value(gaps, 0, 10) == wanted and not one_size(gaps)


def test_of_many_it_is_drawn_and_near() -> None:
    """Beside the normal that it tends to: sd of the sum is the root of the sum of squares."""
    gaps = np.linspace(-0.4, 1.0, 29)
    assert len(gaps) > MOST and p_value(gaps, 0, 4000) == p_value(gaps, 0, 4000)
    z = gaps.sum() / np.sqrt((gaps**2).sum())
    assert z == pytest.approx(3.17, abs=0.05)
    assert p_value(gaps, 0, 20_000) == pytest.approx(0.0015, abs=0.0012)


def test_rounding_is_no_difference() -> None:
    gaps = differing(np.array([1e-17, 0.0, -1e-16, 0.3, 0.1 + 0.2]))
    assert len(gaps) == 2 and one_size(gaps)
    assert p_value(differing(np.zeros(5)), 0, 10) == 1.0
