"""Lines and bars begin at zero and reach from the least to the most."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from bvrank.reports.drawing import Bar, Lines, Median, Series, bars, figure, lines
from bvrank.reports.svg import BOTTOM, HEIGHT, LEFT, TOP, WIDTH
from tests.reports.html import Page


def ends(drawing: str, look: str) -> list[tuple[float, float]]:
    """(from, to) of the horizontal lines of a class."""
    found = re.findall(rf'd="M([\d.]+),[\d.]+H([\d.]+)[^"]*" class="{look}', drawing)
    return [(float(a), float(b)) for a, b in found]


def test_bars_are_as_long_as_their_medians_and_lines_as_their_ranges() -> None:
    given = [Bar("a", 0, Median(0, 2.0, 1.0, 4.0), "2.00"), Bar("b", 1, Median(0, 4, 4, 4), "4.00")]
    drawing = bars("Time", "seconds", given)
    (zero, one), (same, two) = ends(drawing, "band")
    assert same == zero
    assert (two - zero) == pytest.approx(2 * (one - zero), abs=0.2)
    low, high = ends(drawing, "line")[0]
    assert (low - zero, high - zero) == pytest.approx(((two - zero) / 4, two - zero), abs=0.2)
    assert two <= WIDTH
    assert [t for tag, t in Page(drawing).texts if tag == "text"][:4] == ["a", "2.00", "b", "4.00"]


def test_lines_start_at_zero_and_end_above_the_largest() -> None:
    series = Series("a", 0, (Median(5, 2.0, 1.0, 4.0), Median(10, 3.0, 3.0, 3.0)))
    chart = Lines("t", "times", "items", (series,), reference=1.0)
    assert chart.top == pytest.approx(4.2)
    drawing = lines(chart)
    path = re.search(r'd="M([\d.]+),([\d.]+)L([\d.]+),([\d.]+)" class="line', drawing)
    assert path is not None
    left, first, right, second = map(float, path.groups())
    assert 0 <= left < right <= WIDTH - LEFT
    height = HEIGHT - TOP - BOTTOM
    assert (height - first) / (height - second) == pytest.approx(2 / 3, rel=0.01)
    assert re.search(rf"M{left},[\d.]+V[\d.]+M{right}", drawing), "ranges stand on their points"
    assert 'class="reference"' in drawing
    shared = lines(chart, 8.4)
    assert shared != drawing


def test_sizes_by_powers_are_told_in_full_and_equally_far_apart() -> None:
    points = tuple(Median(10.0**n, 1, 1, 1) for n in (3, 4, 5, 6))
    drawing = lines(Lines("", "ms", "rows", (Series("a", 0, points),), powers=True))
    texts = [t for tag, t in Page(drawing).texts if tag == "text"]
    assert {"1,000", "10,000", "100,000", "1,000,000"} <= set(texts)
    path = re.search(r'd="(M[^"]*)" class="line', drawing)
    assert path is not None
    places = [float(x) for x in re.findall(r"[ML]([\d.]+),", path[1])]
    apart = [b - a for a, b in pairwise(places)]
    assert apart == pytest.approx([apart[0]] * 3, abs=0.2)


def test_a_legend_names_each_series_and_nothing_divides_by_nothing() -> None:
    some = (Series("one", 0, (Median(1, 0, 0, 0),)), Series("<two>", 1, (), 1, True))
    drawing = figure("F", [lines(Lines("", "s", "n", some[:1])), bars("", "s", [])], some)
    assert Page(drawing).text("span") == "one<two>"
    assert "nan" not in drawing


def test_an_upright_axis_by_powers_begins_at_a_power_and_draws_ratios_as_lengths() -> None:
    points = tuple(Median(2.0**n, 0.5**n, 0.5**n / 2, 0.5**n * 2) for n in range(6))
    chart = Lines("", "|bias|", "S", (Series("a", 0, points),), powers=True, base=2, steep=True)
    drawing = lines(chart)
    texts = [t for tag, t in Page(drawing).texts if tag == "text"]
    assert {"1", "2", "4", "8", "16", "32", "0.01", "0.1"} <= set(texts)
    path = re.search(r'd="M([^"]*)" class="line', drawing)
    assert path is not None
    heights = [float(pair.split(",")[1]) for pair in path[1].split("L")]
    apart = [b - a for a, b in pairwise(heights)]
    assert apart == pytest.approx([apart[0]] * 5, abs=0.2)
    assert heights[0] > 0 and heights[-1] <= HEIGHT - TOP - BOTTOM


def test_what_is_not_above_zero_lies_below_an_axis_by_powers() -> None:
    points = (Median(1.0, 1.0, 0.0, 2.0), Median(2.0, 0.0, 0.0, 1.0))
    drawing = lines(Lines("", "u", "S", (Series("a", 0, points),), steep=True))
    assert "nan" not in drawing and "inf" not in drawing


def test_sizes_with_fractions_have_ticks_between_whole_numbers() -> None:
    series = (Series("a", 0, (Median(0, 1, 1, 1), Median(1, 2, 2, 2))),)
    charts = (Lines("", "u", "alpha", series, whole=whole) for whole in (False, True))
    some, few = ([t for tag, t in Page(lines(c)).texts if tag == "text"] for c in charts)
    assert "0.2" in some and "0.2" not in few
