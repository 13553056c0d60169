"""A chart as an SVG file that stands alone: light and dark, told apart without colour too."""

from __future__ import annotations

from collections.abc import Iterator

from bvrank.reports.axes import Axis, limits
from bvrank.reports.curves import Point
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.style import DRAWING, PALETTE
from bvrank.reports.svg import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Stroke,
    marks,
    scales,
    shape,
    traced,
)
from docs.curves import GRID, Chart, Series

HEAD = 24  # pixels above the axes, for the heading
ROW = 19  # of the legend
LETTER = 7.4  # pixels of a character in the widest of the usual fonts
KEY = 42  # pixels of a legend's sample line and the gap behind it
EXACT = 9  # decimals: what processors make of the last bits must not reach a file
# An own ground: a page may be dark where the reader's system is light.
STYLE = """
svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
.ground{fill:var(--bg)}
svg text.head{text-anchor:start;font-weight:600;font-size:13px}
svg text.key{text-anchor:start}
.d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}.d3{stroke-dasharray:10 4 2 4}
.d4{stroke-dasharray:15 4}.d5{stroke-dasharray:5 3 2 3 2 3}.d6{stroke-dasharray:2 6}
.d7{stroke-dasharray:12 3 4 3}
"""


def drawn(chart: Chart) -> str:
    """The file's text."""
    labelled = [s for s in chart.series if s.label]
    columns = _columns([s.label for s in labelled])
    height = HEAD + HEIGHT + ROW * -(-len(labelled) // columns) + 8
    title = f"{chart.heading} against the {chart.across}"
    svg = element(
        "svg",
        element("style", Markup(PALETTE + DRAWING + STYLE)),
        element("rect", width="100%", height="100%", rx=6, class_="ground"),
        element("text", chart.heading, x=10, y=17, class_="head"),
        element("g", *_axes(chart), transform=f"translate(0,{HEAD})"),
        *_legend(labelled, columns),
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH, height=height, role="img", aria_label=title,
    )  # fmt: skip
    return f"{svg}\n".replace("<path", "\n<path").replace("<text", "\n<text")


def _axes(chart: Chart) -> Iterator[Markup]:
    strokes = [_stroke(s, chart.heading) for s in chart.series]
    low, high = chart.reach or limits(p.mean for s in strokes for p in s.points)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    frame = (
        Axis(float(GRID[0]), float(GRID[-1]), 0.0, float(width)),
        Axis(low, high, float(height), 0.0),
    )
    yield scales(frame, chart.across)
    zero = f"M0,{frame[1].at(0.0):.1f}H{width}" if frame[1].shows(0.0) else ""
    inner = [element("path", d=f"{zero}M{frame[0].at(0.0):.1f},0V{height}", class_="reference")]
    inner += [traced(s, frame) for s in strokes]
    yield element("svg", *inner, x=LEFT, y=TOP, width=width, height=height)


def _stroke(series: Series, heading: str) -> Stroke:
    values = [round(v, EXACT) for v in series.values.tolist()]
    points = (Point(x, y, 0.0) for x, y in zip(GRID.tolist(), values, strict=True))
    return Stroke(series.number, series.label or heading, series.number, False, tuple(points), ())


def _columns(labels: list[str]) -> int:
    widest = KEY + LETTER * max(map(len, labels), default=0)
    return max(1, min(len(labels), 4, int((WIDTH - 10) // widest)))


def _legend(labelled: list[Series], columns: int) -> Iterator[Markup]:
    apart = (WIDTH - 10) // columns
    for place, series in enumerate(labelled):
        x, y = 10 + apart * (place % columns), HEAD + HEIGHT + 14 + ROW * (place // columns)
        n = series.number
        sample = element("path", d=f"M{x},{y - 4}h34", class_=f"line c{n % COLOURS} d{n}")
        mark = marks(n, [(x + 17.0, y - 4.0)] if shape(n) != "-" else [])
        yield together(sample, mark, element("text", series.label, x=x + KEY, y=y, class_="key"))
