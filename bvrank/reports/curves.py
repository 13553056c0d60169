"""Curves as PNG files: one line per configuration, a band over its seeds.

Drawn with matplotlib's own canvas, so that no display and no global state is involved.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bvrank.reports.figures import is_number, views
from bvrank.reports.spread import spread
from bvrank.reports.tables import Row
from bvrank.run import RunRecord, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by readers with any colour vision; yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--")
MARKERS = ("", "o", "s", "^", "D", "v")  # one per round through the colours
FEW = 8  # points up to which each is marked
POINTS = 150  # most points of a curve; longer runs show means over neighbouring steps
WIDTH, HEIGHT, LEGEND = 5.2, 3.2, 0.19  # inches: a facet, its height, a line of the legend
DPI = 130


@dataclass(frozen=True)
class Line:
    """A metric in a facet: `dash` indexes DASHES, `shift` draws the change since the start."""

    key: str
    label: str = ""
    dash: int = 0
    shift: bool = False


@dataclass(frozen=True)
class Facet:
    """One set of axes."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Panel:
    """One PNG: a heading, the name and unit of its vertical axis, and its facets."""

    name: str
    heading: str
    unit: str
    facets: tuple[Facet, ...]
    reference: float | None = None  # a thin line at a value that means something


@dataclass(frozen=True)
class Point:
    """Mean and standard deviation over seeds at a step."""

    step: float
    mean: float
    std: float


def draw(rows: Sequence[Row], folder: Path) -> list[tuple[Panel, Path]]:
    """Writes a PNG per panel that has data; returns what was written, in order."""
    drawn = [row for row in rows if any(r.metrics for r in row.runs)]
    written = []
    for panel in panels({k for row in drawn for r in row.runs for m in r.metrics for k in m}):
        path = folder / f"{panel.name}.png"
        write_atomic(path, _png(_figure(panel, drawn)))
        written.append((panel, path))
    return written


def panels(names: Iterable[str]) -> list[Panel]:
    """The panels for which `names`, the metrics logged by any run, hold a figure."""
    known = set(names)
    found = sorted(views(sorted(known)), key=lambda v: (v not in ("full", "bare"), v == "bare", v))

    def per_view(*ends: tuple[str, str], shift: bool = False) -> tuple[Facet, ...]:
        return tuple(
            Facet(
                f"view {view}" if view else "",
                tuple(
                    Line(f"{view}/{end}" if view else end, label, dash, shift)
                    for dash, (end, label) in enumerate(ends)
                ),
            )
            for view in found
        )

    moved = Panel(  # without a reference, batches differ as well as the policy
        "logps", "Displacement of log-probabilities", "change since start (nats)",
        per_view(("logps/chosen", "chosen"), ("logps/rejected", "rejected"), shift=True), 0.0,
    )  # fmt: skip
    if any(name.endswith("displacement/chosen") for name in known):
        sides = per_view(("displacement/chosen", "chosen"), ("displacement/rejected", "rejected"))
        moved = Panel(moved.name, moved.heading, "policy - reference (nats)", sides, 0.0)
    made = [
        Panel("loss", "Loss", "loss (nats)", (Facet("training", (Line("loss"),)),
              Facet("held-out rows", (Line("eval/loss"),)))),
        Panel("margins", "Reward margin, chosen minus rejected", "margin (beta * nats)",
              per_view(("rewards/margins", "")), 0.0),
        Panel("accuracies", "Pairs ranked right", "share of pairs",
              per_view(("rewards/accuracies", "")), 0.5),
        moved,
        Panel("grad_norm", "Gradient norm before clipping", "L2 norm",
              (Facet("", (Line("grad_norm"),)),)),
    ]  # fmt: skip
    kept = [(p, tuple(f for f in p.facets if any(x.key in known for x in f.lines))) for p in made]
    return [Panel(p.name, p.heading, p.unit, f, p.reference) for p, f in kept if f]


def curve(runs: Sequence[RunRecord], line: Line) -> list[Point]:
    """Mean and standard deviation of a metric over runs, at each step that one of them logged.

    Longer curves than POINTS are averaged over equal stretches of steps, run by run first.
    """
    values = [_values(run, line) for run in runs]
    steps = sorted({step for v in values for step in v})
    stretch = max(1, math.ceil(len(steps) / POINTS))
    points = []
    for start in range(0, len(steps), stretch):
        here = steps[start : start + stretch]
        present = [[v[s] for s in here if s in v] for v in values]
        across = spread([spread(p).mean for p in present if p])
        points.append(Point(sum(here) / len(here), across.mean, across.std or 0.0))
    return points


def _values(run: RunRecord, line: Line) -> dict[int, float]:
    found = {m["step"]: float(m[line.key]) for m in run.metrics if is_number(m.get(line.key))}
    start = found[min(found)] if line.shift and found else 0.0
    return {step: value - start for step, value in found.items()}


def _figure(panel: Panel, rows: Sequence[Row]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(panel.facets), HEIGHT), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panel.facets), squeeze=False, sharex=True, sharey=True)[0]
    for facet, ax in zip(panel.facets, axes, strict=True):
        for number, row in enumerate(rows):
            _draw_row(ax, facet, row, number)
        _dress(ax, facet, panel)
    axes[0].set_ylabel(panel.unit)
    figure.suptitle(panel.heading, fontsize=12, fontweight="bold", x=0.01, ha="left")
    _legend(figure, panel, rows)
    return figure


def _draw_row(ax: Axes, facet: Facet, row: Row, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    for line in facet.lines:
        points = curve(row.runs, line)
        steps, means = [p.step for p in points], [p.mean for p in points]
        marker = _marker(number) or ("o" if len(points) <= FEW else "")
        every = max(1, len(points) // 8)
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markevery": every,
            "markersize": 4,
        }
        ax.plot(steps, means, DASHES[line.dash], lw=1.6, **look)
        if len(row.runs) > 1:
            low, high = ([p.mean + side * p.std for p in points] for side in (-1, 1))
            ax.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)


def _marker(number: int) -> str:
    return MARKERS[number // len(COLOURS) % len(MARKERS)]


def _dress(ax: Axes, facet: Facet, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    if panel.reference is not None:
        ax.axhline(panel.reference, color="0.45", lw=0.8, zorder=0)
    ax.set_title(facet.title, fontsize=10, loc="left")
    ax.set_xlabel("optimiser step")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    ax.grid(True, color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, panel: Panel, rows: Sequence[Row]) -> None:
    """Below the axes, where it can cover nothing; the picture grows by its height."""
    handles = _handles(panel, rows)
    longest = max(len(str(h.get_label())) for h in handles)
    columns = max(1, min(len(handles), int(14 * len(panel.facets) * WIDTH / (longest + 6))))
    figure.set_figheight(HEIGHT + LEGEND * math.ceil(len(handles) / columns))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=columns, fontsize=8.5, frameon=False
    )


def _handles(panel: Panel, rows: Sequence[Row]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for number, row in enumerate(rows):
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": _marker(number),
            "markersize": 4,
        }
        seeds = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
        handles.append(Line2D([], [], lw=2, label=row.title + seeds, **look))
    for line in panel.facets[0].lines:
        if line.label:
            style = DASHES[line.dash]
            handles.append(Line2D([], [], color="0.3", ls=style, lw=1.6, label=line.label))
    if any(len(row.runs) > 1 for row in rows):
        handles.append(Patch(color="0.8", lw=0, label="± 1 sd over seeds"))
    return handles


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
