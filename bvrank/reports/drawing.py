"""Medians with their least and most, as inline SVG: lines over a size, bars by name.

Built of the pieces that curves are drawn with, so colours and light and dark are theirs. Every
bar, and every vertical axis of lines that is not by powers of ten, begins at zero: lengths may be
compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bvrank.reports.axes import Axis, labels
from bvrank.reports.curves import Point
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.svg import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Stroke,
    legend_item,
    marks,
    scales,
    traced,
)
from bvrank.reports.text import cut, one_line

NAMES, VALUES, ROW, FOOT = 152, 50, 24, 24  # pixels: names, figures, a bar's row, the axis below
AIR = 1.05  # the axis goes so far beyond the largest value


@dataclass(frozen=True)
class Median:
    """A median over a size `at`, with the least and the most."""

    at: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """Medians of one colour; `dash` 1 is drawn dashed, `bare` as a line without marks."""

    name: str
    colour: int
    points: tuple[Median, ...]
    dash: int = 0
    bare: bool = False


@dataclass(frozen=True)
class Lines:
    """Axes of a title: a unit upwards, a size across (by powers of `base` where `powers`), and a
    thin line at a value that means something. `whole`: sizes are; `steep`: powers of ten upwards,
    of which the least is drawn at the bottom."""

    title: str
    unit: str
    across: str
    series: tuple[Series, ...]
    reference: float | None = None
    powers: bool = False
    base: int = 10
    whole: bool = True
    steep: bool = False

    @property
    def top(self) -> float:
        """The largest value."""
        most = max((p.high for s in self.series for p in s.points), default=1.0)
        return AIR * max(most, self.reference or 0.0) or 1.0

    @property
    def bottom(self) -> float:
        """Where the vertical axis begins: 0, or below the least value of a steep one."""
        if not self.steep:
            return 0.0
        return min((p.value for s in self.series for p in s.points if p.value > 0), default=0.1)


@dataclass(frozen=True)
class Bar:
    """A named median; `told` is the figure as text."""

    name: str
    colour: int
    median: Median
    told: str


def figure(heading: str, facets: Sequence[Markup], series: Sequence[Series] = ()) -> Markup:
    """Facets side by side where there is room, and what their colours and dashes stand for."""
    legend = element("ul", *map(_legend, series), class_="legend") if series else Markup("")
    shown = element("div", *facets, class_="facets")
    return element("figure", element("h3", heading), shown, legend)


def lines(chart: Lines, top: float | None = None) -> Markup:
    """One set of axes; `top` ends the vertical one, for charts that share it."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = [_place(chart, p.at) for s in chart.series for p in s.points]
    first, last = min(places, default=0.0), max(places, default=1.0)
    edge = 26.0 if chart.powers else 6.0  # half a long label
    x = Axis(first, last + (last == first), edge, width - edge)
    frame = (x, _upright(chart, top or chart.top, float(height)))
    parts: list[Markup] = []
    if chart.reference is not None:
        parts.append(_path(f"M0,{frame[1].at(chart.reference):.1f}H{width}", "reference"))
    for series in chart.series:
        parts += _traced(chart, series, frame)
    told = partial(_powers, base=chart.base) if chart.powers else labels
    upwards = partial(_powers, base=10) if chart.steep else None
    inner = element("svg", *parts, x=LEFT, y=TOP, width=width, height=height)
    svg = element("svg", scales(frame, chart.across, told, upwards, chart.whole), inner,
                  viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
                  aria_label=f"{chart.title}: {chart.unit} against {chart.across}")  # fmt: skip
    return element("div", _caption(chart.title, chart.unit), svg)


def bars(title: str, unit: str, given: Sequence[Bar]) -> Markup:
    """A bar to each median, with a line from the least to the most."""
    right, bottom = WIDTH - VALUES, TOP + ROW * len(given)
    most = max((b.median.high for b in given), default=0.0)
    x = Axis(0.0, AIR * most or 1.0, float(NAMES), float(right))
    ticks = x.ticks(4)
    grid = "".join(f"M{x.at(v):.1f},{TOP}V{bottom}" for v in ticks)
    texts = [element("text", t, x=f"{x.at(v):.1f}", y=bottom + 16)
             for v, t in zip(ticks, labels(ticks), strict=True)]  # fmt: skip
    rows = [part for number, bar in enumerate(given) for part in _bar(bar, TOP + ROW * number, x)]
    svg = element("svg", _path(grid, "grid"), *rows, _path(f"M{NAMES},{TOP}V{bottom}", "axis"),
                  *texts, viewBox=f"0 0 {WIDTH} {bottom + FOOT}", role="img",
                  aria_label=f"{title}: {unit}")  # fmt: skip
    return element("div", _caption(title, unit), svg)


def _bar(bar: Bar, y: int, x: Axis) -> Iterator[Markup]:
    colour, middle, found = f"c{bar.colour % COLOURS}", y + ROW // 2, bar.median
    end = f"{x.at(found.value):.1f}"
    title = element("title", f"{bar.name}: {bar.told} [{found.low:.3g}, {found.high:.3g}]")
    box = f"M{x.start},{y + 4}H{end}v{ROW - 8}H{x.start}Z"
    yield element("path", title, d=box, class_=f"band {colour}")
    yield _path(f"M{x.at(found.low):.1f},{middle}H{x.at(found.high):.1f}", f"line {colour}")
    yield marks(bar.colour, [(x.at(found.value), middle)])
    yield element("text", cut(one_line(bar.name), 26), x=NAMES - 6, y=middle + 4, class_="left")
    yield element("text", bar.told, x=WIDTH, y=middle + 4, class_="left")


def _traced(chart: Lines, series: Series, frame: tuple[Axis, Axis]) -> Iterator[Markup]:
    x, y = frame
    points = [(_place(chart, p.at), p) for p in series.points]
    colour = f"c{series.colour % COLOURS}"
    if series.bare:
        path = "M" + "L".join(f"{x.at(at):.1f},{y.at(_up(chart, p.value)):.1f}" for at, p in points)
        yield _path(path, f"line {colour} d{series.dash}")
        return
    ends = ((a, _up(chart, p.low), _up(chart, p.high)) for a, p in points)
    ranges = (f"M{x.at(a):.1f},{y.at(low):.1f}V{y.at(high):.1f}" for a, low, high in ends)
    yield _path("".join(ranges), f"seed {colour}")
    curve = tuple(Point(at, _up(chart, p.value), 0.0) for at, p in points)
    yield traced(Stroke(series.colour, series.name, series.dash, False, curve, ()), frame)


def _place(chart: Lines, size: float) -> float:
    return math.log(size, chart.base) if chart.powers else size


def _upright(chart: Lines, top: float, height: float) -> Axis:
    if not chart.steep:
        return Axis(0.0, top, height, 0.0)
    low, high = math.log10(chart.bottom), math.log10(top)
    first = math.floor(low + 1e-9)
    return Axis(first, max(high + 0.05 * (high - first), first + 1.0), height, 0.0)


def _up(chart: Lines, value: float) -> float:
    """Where a value stands on the vertical axis."""
    if not chart.steep:
        return value
    return math.log10(value) if value > 0 else -math.inf


def _powers(ticks: list[float], base: int = 10) -> list[str]:
    return [f"{base**tick:,.0f}" if tick >= 0 else f"{base**tick:.6g}" for tick in ticks]


def _legend(series: Series) -> Markup:
    line = _path("M1,7H29", f"line c{series.colour % COLOURS} d{series.dash}")
    mark = Markup("") if series.bare else marks(series.colour, [(15.0, 7.0)])
    return legend_item(together(line, mark), cut(one_line(series.name), 160))


def _caption(title: str, unit: str) -> Markup:
    named = together(element("b", title), " ") if title else Markup("")
    return element("p", named, unit, class_="caption")


def _path(path: str, look: str) -> Markup:
    return element("path", d=path, class_=look)
