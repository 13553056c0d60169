"""What is drawn: panels by what was logged, and curves of mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bvrank.reports.figures import is_number, views
from bvrank.reports.spread import spread
from bvrank.run import RunRecord

POINTS = 150  # most points of a curve; longer runs show means over neighbouring steps


@dataclass(frozen=True)
class Line:
    """A metric in a facet: `dash` 1 is drawn dashed, `shift` draws the change since the start."""

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
    """A heading, the name and unit of the vertical axis, and facets that share both axes."""

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
        Panel("alpha", "Share of the view full in the loss", "alpha",
              (Facet("", (Line("schedule/alpha"),)),)),
    ]  # fmt: skip
    kept = [(p, tuple(f for f in p.facets if any(x.key in known for x in f.lines))) for p in made]
    return [Panel(p.name, p.heading, p.unit, f, p.reference) for p, f in kept if f]


def curve(runs: Sequence[RunRecord], line: Line, most: int = POINTS) -> list[Point]:
    """Mean and standard deviation of a metric over runs, at each step that one of them logged.

    Curves of more than `most` points are averaged over equal stretches of steps, run by run first.
    """
    values = [_values(run, line) for run in runs]
    steps = sorted({step for v in values for step in v})
    stretch = max(1, math.ceil(len(steps) / most))
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
