"""Curves as inline SVG: one line per configuration, a band over its seeds.

Colours are classes c0 to c6, which bvrank.reports.style defines for light and dark; text takes the
colour of the page. No script, no style attribute, no reference to anything outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bvrank.reports.axes import Axis, labels, limits
from bvrank.reports.curves import POINTS, Facet, Line, Panel, Point, curve
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.rows import Row
from bvrank.reports.text import cut, one_line
from bvrank.run import RunRecord

COLOURS = 7  # c0 to c6
MARKERS = "-osdtv"  # none, circle, square, diamond, triangles: one per round through the colours
WIDTH, HEIGHT = 400, 236  # pixels of a facet at its natural size
LEFT, RIGHT, TOP, BOTTOM = 54, 8, 8, 38
FEW = 8  # points up to which each is marked
SEEDS = range(2, 5)  # of so many seeds each is drawn, thin
BUSY = 8  # rows above which seeds are told by their band alone


@dataclass(frozen=True)
class Stroke:
    """A metric of a row: its curve, and those of its seeds where they are few."""

    number: int  # of the row
    title: str
    dash: int
    pooled: bool
    points: tuple[Point, ...]
    seeds: tuple[tuple[Point, ...], ...]

    @property
    def reach(self) -> Iterator[float]:
        """The values that the vertical axis should show."""
        for p in self.points:
            yield from (p.mean - p.std, p.mean + p.std) if self.pooled else (p.mean,)
        yield from (p.mean for seed in self.seeds for p in seed)


def drawn(panel: Panel, rows: Mapping[int, Row]) -> Markup:
    """A figure: heading, facets side by side where there is room, and the legend below. `rows` by
    number, which decides colour and mark; one without a figure of this panel is left out."""
    found = [(f, list(_strokes(f, rows))) for f in panel.facets]
    facets = [(f, strokes) for f, strokes in found if strokes]
    every = [s for _, strokes in facets for s in strokes]
    low, high = limits([*_reached(every), *([panel.reference] if panel.reference else [])])
    steps = {p.step for s in every for p in s.points}
    first, last = min(steps, default=0.0), max(steps, default=1.0)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    frame = (Axis(first, last + (last == first), 6.0, width - 6.0), Axis(low, high, height, 0.0))
    shown = [_facet(facet, strokes, panel, frame) for facet, strokes in facets]
    return element(
        "figure",
        element("h3", panel.heading),
        element("div", *shown, class_="facets"),
        legend(panel, {s.number: rows[s.number] for s in every}),
    )


def legend(panel: Panel, rows: Mapping[int, Row]) -> Markup:
    """What the colours, marks and dashes of a panel stand for; it wraps where it has to."""
    items = []  # what holds for every row comes first: a long list scrolls
    for line in panel.facets[0].lines:
        if line.label:
            items.append(legend_item(_line("M1,7H29", f"line plain d{line.dash}"), line.label))
    if any(len(row.runs) > 1 for row in rows.values()):
        band = element("path", d="M1,2H29V12H1Z", class_="band plain")
        items.append(legend_item(band, "± 1 sd over seeds"))
    if len(rows) <= BUSY and any(len(row.runs) in SEEDS for row in rows.values()):
        items.append(legend_item(_line("M1,7H29", "seed plain"), "one seed"))
    items += [_row_item(number, row) for number, row in sorted(rows.items())]
    return element("ul", *items, class_="legend")


def _row_item(number: int, row: Row) -> Markup:
    seeds = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
    line = _line("M1,7H29", f"line c{number % COLOURS}")
    mark = marks(number, [(15.0, 7.0)] if shape(number) != "-" else [])
    return legend_item(together(line, mark), cut(one_line(row.title), 160) + seeds)


def legend_item(sample: Markup, text: str) -> Markup:
    """What a sample of 30 by 14 pixels stands for."""
    picture = element("svg", sample, viewBox="0 0 30 14", class_="key", aria_hidden="true")
    return element("li", picture, element("span", text))


def _reached(strokes: Iterable[Stroke]) -> Iterator[float]:
    for stroke in strokes:
        yield from stroke.reach


def _strokes(facet: Facet, rows: Mapping[int, Row]) -> Iterator[Stroke]:
    most = max(60, min(POINTS, 3000 // max(1, len(rows))))
    for number, row in rows.items():
        for line in facet.lines:
            points = curve(row.runs, line, most)
            if points:
                few = len(row.runs) in SEEDS and len(rows) <= BUSY
                seeds = tuple(_alone(run, line, most) for run in row.runs) if few else ()
                pooled = len(row.runs) > 1
                yield Stroke(number, row.title, line.dash, pooled, tuple(points), seeds)


def _alone(run: RunRecord, line: Line, most: int) -> tuple[Point, ...]:
    return tuple(curve([run], line, most))


def _facet(facet: Facet, strokes: Sequence[Stroke], panel: Panel, frame: tuple[Axis, Axis]
           ) -> Markup:  # fmt: skip
    """One set of axes. Lines end at the frame, so that what lies outside is cut off."""
    y = frame[1]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts: list[Markup] = []
    if panel.reference is not None and y.shows(panel.reference):
        parts.append(_line(f"M0,{y.at(panel.reference):.1f}H{width}", "reference"))
    parts += [_band(s, frame) for s in strokes if s.pooled]
    for s in strokes:
        colour = f"c{s.number % COLOURS} d{s.dash}"
        parts += [_line(_path(seed, frame), f"seed {colour}") for seed in s.seeds]
    parts += [traced(s, frame) for s in strokes]
    inner = element("svg", *parts, x=LEFT, y=TOP, width=width, height=height)
    name = ", ".join(filter(None, (panel.heading, facet.title)))
    svg = element(
        "svg", scales(frame), inner,
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=name,
    )  # fmt: skip
    return element("div", element("p", *_caption(facet, strokes, panel, y), class_="caption"), svg)


def _caption(facet: Facet, strokes: Sequence[Stroke], panel: Panel, y: Axis) -> Iterator[str]:
    if facet.title:
        yield element("b", facet.title)
        yield " "
    yield panel.unit
    means = [p.mean for s in strokes for p in s.points]
    if beyond := [m for m in means if math.isfinite(m) and not y.shows(m)]:
        yield f" · beyond the axis: {len(beyond)} of {len(means)}, to {max(beyond, key=abs):.3g}"


def scales(
    frame: tuple[Axis, Axis],
    name: str = "optimiser step",
    told: Callable[[list[float]], list[str]] = labels,
    upwards: Callable[[list[float]], list[str]] | None = None,
    whole: bool = True,
) -> Markup:
    """Grid lines, ticks and their labels, and the name of the horizontal axis, whose ticks `told`
    writes (`whole`: no fractions); `upwards` writes the vertical one's, then without fractions."""
    x, y = frame
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    across, up = x.ticks(6, whole=whole), y.ticks(6, whole=upwards is not None)
    grid = "".join(f"M{LEFT},{TOP + y.at(v):.1f}H{right}" for v in up)
    notches = "".join(f"M{LEFT + x.at(v):.1f},{bottom}v4" for v in across)
    texts = [
        element("text", t, x=LEFT - 6, y=f"{TOP + y.at(v) + 4:.1f}", class_="left")
        for v, t in zip(up, (upwards or labels)(up), strict=True)
    ] + [
        element("text", t, x=f"{LEFT + x.at(v):.1f}", y=bottom + 17)
        for v, t in zip(across, told(across), strict=True)
    ]
    title = element("text", name, x=(LEFT + right) // 2, y=HEIGHT - 4, class_="dim")
    axis = f"M{LEFT},{bottom}H{right}{notches}"
    return together(_line(grid, "grid"), _line(axis, "axis"), *texts, title)


def traced(stroke: Stroke, frame: tuple[Axis, Axis]) -> Markup:
    """The mean, with marks: on every point of a short curve, else a few to tell it by."""
    path = _path(stroke.points, frame)
    title = element("title", cut(one_line(stroke.title), 160))
    look = f"line c{stroke.number % COLOURS} d{stroke.dash}"
    line = element("path", title, d=path, class_=look)
    places = [(frame[0].at(p.step), frame[1].at(p.mean)) for p in stroke.points if _finite(p)]
    if len(places) > FEW:
        apart = max(1, len(places) // 8)  # rows in turn, so that marks do not hide each other
        marked = places[stroke.number % apart :: apart]
        places = marked if shape(stroke.number) != "-" else []
    return together(line, marks(stroke.number, places))


def _band(stroke: Stroke, frame: tuple[Axis, Axis]) -> Markup:
    x, y = frame
    path = ""
    for piece in _pieces(stroke.points):
        edge = [(p.step, p.mean + p.std) for p in piece]
        edge += [(p.step, p.mean - p.std) for p in reversed(piece)]
        path += "M" + "L".join(f"{x.at(s):.1f},{y.at(v):.1f}" for s, v in edge) + "Z"
    return element("path", d=path, class_=f"band c{stroke.number % COLOURS}")


def _path(points: Sequence[Point], frame: tuple[Axis, Axis]) -> str:
    x, y = frame
    pieces = ([f"{x.at(p.step):.1f},{y.at(p.mean):.1f}" for p in part] for part in _pieces(points))
    return "".join("M" + "L".join(piece) for piece in pieces)


def _pieces(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The stretches without a gap: a value that is not finite is not drawn."""
    piece: list[Point] = []
    for point in points:
        if _finite(point):
            piece.append(point)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _finite(point: Point) -> bool:
    return math.isfinite(point.mean) and math.isfinite(point.std)


def shape(number: int) -> str:
    """The row's mark, "-" for none."""
    return MARKERS[number // COLOURS % len(MARKERS)]


def marks(number: int, places: Sequence[tuple[float, float]]) -> Markup:
    """The row's mark at each place, as one path; a circle stands for none where all are marked."""
    paths = {
        "o": "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0",
        "s": "m-3,-3h6v6h-6z",
        "d": "m0,-4l4,4l-4,4l-4,-4z",
        "t": "m0,-4l4,7h-8z",
        "v": "m0,4l4,-7h-8z",
    }
    mark = paths.get(shape(number), paths["o"])
    path = "".join(f"M{x:.1f},{y:.1f}{mark}" for x, y in places)
    return element("path", d=path, class_=f"mark c{number % COLOURS}") if path else Markup("")


def _line(path: str, look: str) -> Markup:
    return element("path", d=path, class_=look)
