import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.reports.curves import POINTS, Line, curve, panels
from bvrank.run import RunRecord


def record(values, key="loss", start=1):
    metrics = tuple({"step": start + k, key: v} for k, v in enumerate(values))
    return RunRecord(None, "finished", {}, {}, metrics, {})


def test_mean_and_spread_over_seeds():
    points = curve([record([1.0, 2.0]), record([3.0, 2.0])], Line("loss"))
    assert [(p.step, p.mean) for p in points] == [(1, 2.0), (2, 2.0)]
    assert [p.std for p in points] == pytest.approx([math.sqrt(2), 0])


def test_shift_draws_the_change_since_the_first_step():
    points = curve([record([-40.0, -42.0]), record([-10.0, -14.0])], Line("loss", shift=True))
    assert [p.mean for p in points] == [0.0, -3.0]


def test_a_shorter_run_stops_counting_where_it_ends():
    points = curve([record([1.0, 1.0]), record([3.0])], Line("loss"))
    assert [p.mean for p in points] == [2.0, 1.0]


def test_steps_that_a_run_did_not_log_and_values_that_are_no_number():
    points = curve([record([1.0], start=5), record([None, "x"], start=4)], Line("loss"))
    assert [(p.step, p.mean) for p in points] == [(5, 1.0)]
    assert curve([record([])], Line("loss")) == []


def test_what_is_not_finite_is_a_gap():
    points = curve([record([1.0, math.inf, 3.0])], Line("loss"))
    assert [math.isfinite(p.mean) for p in points] == [True, False, True]


@settings(deadline=None)
@given(st.integers(1, 1000), st.floats(-10, 10), st.floats(-1, 1))
def test_long_curves_are_thinned_without_bending_a_line(n, height, slope):
    values = [height + slope * k for k in range(n)]
    points = curve([record(values)], Line("loss"))
    assert len(points) <= POINTS
    for p in points:
        assert p.mean == pytest.approx(height + slope * (p.step - 1), abs=1e-6)


def test_numbers_that_no_float_holds_are_left_out():
    assert [p.mean for p in curve([record([10**400, 2.0])], Line("loss"))] == [2.0]


def test_panels_follow_what_was_logged():
    assert panels([]) == []
    assert [p.name for p in panels(["loss", "eval/loss"])] == ["loss"]
    assert [p.name for p in panels(["loss", "schedule/alpha"])] == ["loss", "alpha"]
    names = ["full/rewards/margins", "bare/rewards/margins", "bare/logps/chosen", "grad_norm"]
    found = {p.name: [f.title for f in p.facets] for p in panels(reversed(names))}
    assert found == {
        "margins": ["view full", "view bare"],
        "logps": ["view bare"],
        "grad_norm": [""],
    }
    (plain,) = panels(["rewards/accuracies", "rewards/margins"])[1:]
    assert plain.facets[0].lines[0].key == "rewards/accuracies"
