"""Checks hold on what is right, and only there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bvrank.lab import checks
from bvrank.lab.check import Check, worst
from bvrank.lab.checks import (
    argmin,
    at_reference,
    on_algebra,
    on_minimum,
    on_variance,
)
from bvrank.lab.moments import Moments, candidates, gradients, moments
from bvrank.lab.policy import moved, world
from tests.lab.small import measured, policy, score, small


def every(distance: float = 0.1) -> list[Check]:
    found, exact = measured(distance)
    m = moments(exact)
    return [*on_algebra(small(), policy(distance), found, exact, 0),
            *on_variance(small(), found, exact, m), *on_minimum(m)]  # fmt: skip


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.2])
def test_everything_holds(distance: float) -> None:
    checks = every(distance)
    assert {c.theorem for c in checks} == {"", "1", "2", "4"}
    assert [c for c in checks if not c.holds] == []


def test_prompts_in_parts_have_the_gradient_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PAIRS", 1)
    assert [c for c in every() if not c.holds] == []
    assert len(checks._Product(small(), policy()).parts) == 2


@pytest.mark.parametrize("beta", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("distance", [0.0, 10.0, 100.0])
def test_saturated_gradients_violate_nothing(beta: float, distance: float) -> None:
    own = world(score(), beta, "fresh", 0)
    weights = moved(own, distance, "random", 0)
    found = candidates(own, weights)
    exact = gradients(own, found)
    m = moments(exact)
    told = [*on_algebra(own, weights, found, exact, 0), *on_variance(own, found, exact, m),
            *on_minimum(m)]  # fmt: skip
    assert [c for c in told if not c.holds] == []


def test_where_there_is_no_scale_the_difference_itself_counts() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    nothing = Moments(zero, zero, zero, 0.0, 0.0, 0.0)
    assert all(c.holds for c in on_minimum(nothing)) and at_reference(nothing).holds
    assert not at_reference(replace(nothing, b_t=zero + 1e-3)).holds
    assert not any(c.holds for c in on_minimum(replace(nothing, b_e=zero * math.nan)))


def test_a_wrong_variance_gradient_or_bias_is_found() -> None:
    found, exact = measured()
    m = moments(exact)
    wrong = replace(m, s_t=m.s_t * (1 + 1e-8))
    assert not all(c.holds for c in on_variance(small(), found, exact, wrong))
    off = replace(exact, mu=exact.mu + 1e-8)
    first, *rest = on_algebra(small(), policy(), found, off, 0)
    assert not first.holds and all(c.holds for c in rest)
    moved = replace(found, full=found.full * (1 + 1e-8))
    assert not all(c.holds for c in list(on_algebra(small(), policy(), moved, exact, 0))[1:])
    assert not at_reference(m).holds
    assert at_reference(moments(measured(0.0)[1])).holds


def test_an_alpha_that_is_not_the_least_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    m = moments(measured()[1])
    monkeypatch.setattr(Moments, "minimum", lambda self, c=1.0: 0.9)
    failed = {c.theorem for c in on_minimum(m) if not c.holds}
    assert failed == {"2", "4"}


def test_the_worst_of_each_statement_is_kept_and_nan_never_holds() -> None:
    told = [Check("1", "a", 0.1, 1.0), Check("1", "a", 0.3, 1.0), Check("1", "a", 0.2, 1.0),
            Check("2", "a", math.nan, 1.0), Check("2", "a", 0.1, 1.0)]  # fmt: skip
    first, second = worst(told)
    assert (first.largest, first.holds) == (0.3, True)
    assert math.isnan(second.largest) and not second.holds


@pytest.mark.parametrize("a", [0.0, 1.0, 0.1234567, 0.9999996])
def test_the_grid_is_fine_at_both_ends(a: float) -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    bias = torch.ones(1, dtype=torch.float64)
    # b_e = 1, b_t = 0: a = 1 / (1 + s_t)
    m = Moments(zero, zero, bias, 1 / a - 1, 0.0, 0.0) if a else Moments(
        zero, bias, zero, 1.0, 0.0, 0.0)  # fmt: skip
    assert argmin(m) == pytest.approx(a, abs=1e-6)
