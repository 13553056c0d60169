"""The lab's figures as drawings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bvrank.lab.result import Result, distance, key
from bvrank.lab.tables import bias_interval
from bvrank.reports.drawing import Bar, Lines, Median, Series, bars, figure, lines
from bvrank.reports.markup import Markup, element, together

MSE, BIAS, VARIANCE, STAR = 0, 1, 2, 6  # colours
MARKS = 10  # points of a curve along training, about


def errors(result: Result) -> Markup:
    """MSE against alpha with its bias and variance, a figure to each world."""
    worlds = dict.fromkeys(cell["world"] for cell in result.cells)
    return together(*(_errors(result, world) for world in worlds))


def _errors(result: Result, world: int) -> Markup:
    charts = [_curve(result, cell) for cell in result.cells if cell["world"] == world]
    heading = f"Mean squared error against alpha, world {world}, given the data"
    return figure(heading, [lines(c) for c in charts], charts[0].series)


def _curve(result: Result, cell: Mapping[str, Any]) -> Lines:
    def series(name: str, told: str, colour: int, dash: int) -> Series:
        alpha, values = array(result, cell, "alpha"), array(result, cell, name)
        points = tuple(_exact(a, v) for a, v in zip(alpha, values, strict=True))
        return Series(told, colour, points, dash=dash, bare=True)

    m = cell["given"]["data"]
    star = Series("alpha*", STAR, (_exact(m["alpha"], m["mse"]),))
    parts = (series("mse", "MSE", MSE, 0), series("bias2", "squared bias", BIAS, 1),
             series("variance", "variance", VARIANCE, 1), star)  # fmt: skip
    title = f"distance {distance(cell)}: alpha* {m['alpha']:.3f}"
    return Lines(title, "squared norm of the gradient's error", "alpha", parts, whole=False)


def marginal(result: Result) -> Markup:
    """Bias of the S-trace marginal against S, both by powers."""
    cells = [cell for cell in result.cells if len(cell["estimators"]) > 1]
    if not cells:
        return Markup("")
    charts = [
        Lines("gradient", "|bias|", "traces S", tuple(_biases(cells, _gradient)), powers=True,
              base=2, steep=True),
        Lines("loss", "|bias|, nats", "traces S", tuple(_biases(cells, _loss)), powers=True,
              base=2, steep=True),
        Lines("gradient", "standard deviation", "traces S", tuple(_biases(cells, _noise)),
              powers=True, base=2, steep=True),
    ]  # fmt: skip
    told = ("Thin lines: 95 % intervals. Dashed: 1/S, of the standard deviation 1/sqrt(S), "
            "through the last point of the first world.")  # fmt: skip
    note = element("p", told, class_="caption")
    heading = "Bias and noise of the S-trace marginal"
    legend = (*charts[0].series, charts[-1].series[-1])
    drawn = figure(heading, [lines(c) for c in charts], legend)
    return together(drawn, note)


def _biases(cells: list[Mapping[str, Any]], point: Any) -> Iterator[Series]:
    for number, cell in enumerate(cells):
        points = tuple(point(e) for e in cell["estimators"])
        yield Series(f"world {cell['world']}, distance {distance(cell)}", number, points)
    last, sizes = point(cells[0]["estimators"][-1]), [e["traces"] for e in cells[0]["estimators"]]
    power = 0.5 if point is _noise else 1.0
    law = tuple(_exact(s, last.value * (last.at / s) ** power) for s in sizes)
    yield Series("1/sqrt(S)" if power < 1 else "1/S", STAR, law, dash=1, bare=True)


def _gradient(e: Mapping[str, Any]) -> Median:
    low, high = bias_interval(e)
    return Median(e["traces"], e["bias"], low, high)


def _loss(e: Mapping[str, Any]) -> Median:
    value, reach = abs(e["loss_bias"]), 1.96 * e["loss_stderr"]
    return Median(e["traces"], value, max(value - reach, 0.0), value + reach)


def training(told: Mapping[str, Any]) -> Markup:
    """True loss and gradient norm of every arm, alpha* on the way, and the bound."""
    rules = told["rules"]
    parts = [
        _facets("The true marginal loss", {rule: _lines(rule, arms, "loss", "L_m, nats")
                                           for rule, arms in rules.items()}),
        _facets("Norm of the true gradient", {rule: _lines(rule, arms, "norm", "|grad L_m|")
                                              for rule, arms in rules.items()}),
        _facets("alpha* along training", {r: _stars(r, arms) for r, arms in rules.items()}),
    ]  # fmt: skip
    note = element("p", f"Means over {told['worlds']} worlds; thin lines are 95 % intervals.",
                   class_="caption")  # fmt: skip
    return together(*parts, note, *_bound(told))


def _facets(heading: str, charts: Mapping[str, Lines]) -> Markup:
    shown = [chart for chart in charts.values() if chart.series]
    legend = {s.name: s for chart in shown for s in chart.series}
    return (
        figure(heading, [lines(c) for c in shown], list(legend.values())) if shown else Markup("")
    )


def _lines(rule: str, arms: Mapping[str, Any], what: str, unit: str) -> Lines:
    series = [_series(arms, name, "steps", what) for name in arms]
    return Lines(rule, unit, "step", tuple(series))


def _stars(rule: str, arms: Mapping[str, Any]) -> Lines:
    named = [name for name, arm in arms.items() if arm["points"]]
    return Lines(rule, "alpha* where the arm stands", "step",
                 tuple(_series(arms, name, "points", "alpha") for name in named))  # fmt: skip


def _series(arms: Mapping[str, Any], name: str, across: str, what: str) -> Series:
    number, arm = list(arms).index(name), arms[name]
    pairs = list(zip(arm[across], arm[what], strict=True))
    apart = max(1, len(pairs) // MARKS)
    kept = [p for i, p in enumerate(pairs) if i % apart == 0 or i == len(pairs) - 1]
    points = tuple(Median(at, mean, max(mean - half, 0.0), mean + half)
                   for at, (mean, half) in kept if math.isfinite(mean))  # fmt: skip
    return Series(name, number, points)


def _bound(told: Mapping[str, Any]) -> Iterator[Markup]:
    arms = (told.get("bound") or {}).get("arms")
    if arms:
        rows = [
            Bar(f"{name}, {part}", colour, _pair(arm[part]), f"{arm[part][0]:.3g}")
            for name, arm in arms.items() for colour, part in enumerate(("measured", "bound"))
            if math.isfinite(arm[part][0])
        ]  # fmt: skip
        yield figure("Theorem 3, SGD", [bars("mean |grad L_m|^2", "beside its bound", rows)])


def _pair(pair: Sequence[float]) -> Median:
    mean, half = pair
    return Median(0.0, mean, max(mean - half, 0.0), mean + half)


def _noise(e: Mapping[str, Any]) -> Median:
    return _exact(e["traces"], math.sqrt(max(e["variance"], 0.0)))


def array(result: Result, cell: Mapping[str, Any], name: str) -> np.ndarray:
    """An array of a cell."""
    return result.arrays[key(cell, name)]


def _exact(at: float, value: float) -> Median:
    return Median(float(at), float(value), float(value), float(value))
