import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bvrank.reports.axes import FAR, Axis, labels, limits, round_step

NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60)


@given(NUMBERS)
def test_the_range_is_a_range_and_shows_most_of_the_values(values):
    low, high = limits(values)
    assert low < high
    outside = [v for v in values if not low <= v <= high]
    assert len(outside) <= 2 * (len(values) // 50)


def test_wild_values_do_not_flatten_the_rest():
    values = [math.sin(k) for k in range(100)]
    assert limits([*values, 1e6])[1] < 5
    assert limits([*values, 4.0])[1] > 4  # not wild: shown


@pytest.mark.parametrize("values", [[], [math.nan, math.inf], [3.0], [0.0, 0.0], [-1e-12]])
def test_nothing_and_one_value_have_a_range(values):
    low, high = limits(values)
    assert math.isfinite(low) and low < high
    assert all(low <= v <= high for v in values if math.isfinite(v))


@given(st.floats(1e-9, 1e9))
def test_steps_are_round_and_wide_enough(width):
    step = round_step(width)
    lead = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert width * (1 - 1e-9) <= step <= 2.5 * width * (1 + 1e-9)
    assert min(abs(lead - k) for k in (1, 2, 5)) < 1e-6


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.booleans())
@example(-1.9999999998835847, 0.0078125, True)
def test_ticks_lie_within_and_their_labels_differ(low, width, whole):
    axis = Axis(low, low + width, 0.0, 100.0)
    assume(axis.high > axis.low)
    ticks = axis.ticks(6, whole)
    assert len(ticks) <= 7
    assert all(-1e-6 <= axis.at(t) <= 100 + 1e-6 for t in ticks)
    assert not whole or all(t == round(t) for t in ticks)
    if max(map(abs, ticks), default=0) < 1e6:
        assert len(set(labels(ticks))) == len(ticks)


def test_labels():
    assert labels([0.0, 0.5, 1.0]) == ["0", "0.5", "1.0"]
    assert labels([-20.0, 0.0, 20.0]) == ["-20", "0", "20"]
    assert labels([0, 5000, 10000]) == ["0", "5,000", "10,000"]
    assert labels([0.0, 2e6]) == ["0", "2e+06"]
    assert labels([]) == []


def test_places_far_out_stay_numbers_a_drawing_can_hold():
    axis = Axis(0.0, 1.0, 200.0, 0.0)
    assert (axis.at(0.0), axis.at(1.0), axis.at(0.5)) == (200.0, 0.0, 100.0)
    assert (axis.at(1e300), axis.at(-1e300)) == (-FAR, FAR)
