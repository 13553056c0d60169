import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.reports.spread import Spread, spread, t_quantile

# Printed in every table of Student's t, two-sided 95 % and 90 %.
TABLE_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306,
             9: 2.262, 10: 2.228, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.0, 120: 1.98}  # fmt: skip
TABLE_950 = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 7: 1.895, 10: 1.812, 30: 1.697}


@pytest.mark.parametrize(("freedom", "value"), TABLE_975.items())
def test_known_quantiles(freedom, value):
    assert t_quantile(0.975, freedom) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(("freedom", "value"), TABLE_950.items())
def test_known_quantiles_one_sided(freedom, value):
    assert t_quantile(0.95, freedom) == pytest.approx(value, abs=6e-4)


@given(st.floats(0.5, 0.999))
def test_one_and_two_degrees_have_closed_forms(p):
    assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), abs=1e-9)
    a = 2 * p - 1
    assert t_quantile(p, 2) == pytest.approx(a * math.sqrt(2 / (1 - a * a)), abs=1e-9)


def test_many_degrees_approach_the_normal():
    assert t_quantile(0.975, 100_000) == pytest.approx(1.95996, abs=1e-4)


@given(st.integers(1, 60), st.floats(0.51, 0.99))
def test_quantiles_fall_with_freedom_and_rise_with_p(freedom, p):
    assert t_quantile(p, freedom) > t_quantile(p, freedom + 1)
    assert t_quantile(p + 0.005, freedom) > t_quantile(p, freedom)


@pytest.mark.parametrize(("p", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_arguments_outside(p, freedom):
    with pytest.raises(ValueError):
        t_quantile(p, freedom)


def test_known_numbers():
    # 1, 2, 3, 4: variance 5/3; t(3) = 3.18245
    found = spread([1, 2, 3, 4])
    assert (found.mean, found.n) == (2.5, 4)
    assert found.std == pytest.approx(math.sqrt(5 / 3))
    assert found.half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, abs=1e-5)


def test_one_value_has_no_spread():
    assert spread([0.5]) == Spread(0.5, None, 1)
    assert spread([0.5]).half is None


def test_what_is_not_finite_shows():
    found = spread([1.0, math.inf])
    assert math.isnan(found.mean)
    assert math.isnan(found.half)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.floats(-1e3, 1e3))
def test_shifting_moves_the_mean_and_nothing_else(values, shift):
    a, b = spread(values), spread([v + shift for v in values])
    assert b.mean == pytest.approx(a.mean + shift, abs=1e-6)
    assert b.half == pytest.approx(a.half, abs=1e-4)


@pytest.mark.parametrize("wild", [math.inf, math.nan, 1e200, -1e308])
def test_what_cannot_be_squared_is_not_finite(wild):
    found = spread([1.0, wild])
    assert math.isnan(found.mean) and found.n == 2
