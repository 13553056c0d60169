"""Theorem 3: the bound is its formula, and holds where it has to."""

from __future__ import annotations

import math

import pytest
import torch

from bvrank.lab.bound import MARGIN, Bound, bounds, on_bound, smoothness
from bvrank.lab.training import Course
from tests.lab.test_training import behind, measures


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def course(loss: float, norms: list[float], bias2: list[float], variance: list[float]) -> Course:
    k = len(norms) - 1
    return Course(
        list(range(k + 1)), [f64(loss)] * (k + 1), [f64(n) for n in norms],
        list(range(len(bias2))), [], [f64(b) for b in bias2], [f64(v) for v in variance],
        [f64(3.0)],
    )  # fmt: skip


def test_the_parts_are_those_of_the_formula() -> None:
    told = bounds({"g_t": course(0.6, [2, 1, 9], [1, 4], [5, 3]), "S = 4": course(1, [1], [], [])},
                  f64(0.1), f64(2.0))  # fmt: skip
    assert list(told) == ["g_t"]
    b = told["g_t"]
    assert float(b.measured) == pytest.approx((4 + 1) / 2)
    assert float(b.start) == pytest.approx(2 * 0.6 / (0.1 * 2))
    assert float(b.bias2) == 4
    assert float(b.variance) == 5
    assert float(b.noise) == pytest.approx(0.1 * 2 * 5)
    assert float(b.whole) == pytest.approx(6 + 4 + 1)


def test_what_is_behind_the_last_step_is_no_part_of_a_supremum() -> None:
    told = bounds({"alpha*": course(1, [1, 1], [1, 50], [1, 50])}, f64(1.0), f64(1.0))
    assert (float(told["alpha*"].bias2), float(told["alpha*"].noise)) == (1.0, 1.0)


def test_smoothness_is_the_largest_curvature_seen_with_a_margin() -> None:
    one = {"g_t": course(1, [1], [], []), "exact": Course(slopes=[f64(0.0)])}
    assert float(smoothness(one, [f64(2.0)])) == 3.0 * MARGIN
    assert float(smoothness(one, [f64(7.0)])) == 7.0 * MARGIN


def test_what_has_diverged_is_covered_by_no_theorem_and_never_holds() -> None:
    lost = {"g_t": course(1, [1], [], []), "exact": Course(slopes=[f64(float("nan"))])}
    assert not (smoothness(lost, []) <= 1).any()
    sides = {
        n: Bound(f64(v), f64(10), f64(0), f64(0), f64(0)) for n, v in (("a", 1.0), ("b", math.nan))
    }
    (check,) = on_bound(sides, torch.tensor([True]))
    assert not check.holds


def test_only_worlds_of_which_the_theorem_speaks_are_checked() -> None:
    side = Bound(f64(5, 50), f64(10, 10), f64(0, 0), f64(0, 0), f64(0, 0))
    (fine,) = on_bound({"g_t": side}, torch.tensor([True, False]))
    assert fine.holds
    (broken,) = on_bound({"g_t": side}, torch.tensor([True, True]))
    assert broken.largest == pytest.approx(27.5 / 10 - 1) and not broken.holds
    (none,) = on_bound({"g_t": side}, torch.tensor([False, False]))
    assert "no world with eta L <= 1" in none.why
    assert not none.holds and not none.violated


def test_it_holds_in_the_lab() -> None:
    courses = {name: arm.course for name, arm in behind().items()}
    eta = f64(0.002, 0.002)
    smooth = smoothness(courses, [])
    assert (eta * smooth < 1).all()
    told = bounds(courses, eta, smooth)
    assert set(told) == {"g_t", "g_e", "alpha 0.5", "alpha*", "exact"}
    assert float(told["exact"].bias2.max()) == 0.0
    (check,) = on_bound(told, eta * smooth <= 1)
    assert check.holds
    first = measures().exact.gradients(measures().start)[0]
    assert torch.allclose(told["exact"].start, 2 * first / (eta * 4))
