"""What of a suite is drawn: medians, with the least and the most of the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bvrank.bench.result import Arm, Cell, Result, recomputes
from bvrank.bench.tables import digits, fitted, megabytes
from bvrank.reports.drawing import Bar, Lines, Median, Series, bars, figure, lines
from bvrank.reports.markup import Markup

OWN, PEER, LINE = 0, 1, 6  # colours of bvrank's arms, TRL's, and a fitted line


def plots(result: Result) -> list[Markup]:
    """The figures of a suite."""
    return list(SUITES[result.suite](result))


def _lists(result: Result) -> Iterator[Markup]:
    """How many times faster the tree is."""
    prompts = list(dict.fromkeys(int(c.setting["prompt"]) for c in result.cells))
    charts = []
    for arm, title in (("rows", "a row per item"), ("dense", "a row per item, all logits")):
        series = tuple(
            Series(f"prompt of {prompt:,} tokens", colour, tuple(_faster(result, prompt, arm)))
            for colour, prompt in enumerate(prompts)
        )
        charts.append(
            Lines(title, "its seconds over the tree's (dotted: as fast)", "items", series, 1.0)
        )
    top = max(chart.top for chart in charts)
    facets = [lines(chart, top) for chart in charts]
    yield figure("How many times faster one packed tree is", facets, charts[0].series)


def _faster(result: Result, prompt: int, arm: str) -> Iterator[Median]:
    for cell in result.cells:
        if cell.setting["prompt"] == prompt:
            yield Median(float(cell.setting["items"]), *cell.arms[arm].over(cell.arms["forest"]))


def _versus(result: Result) -> Iterator[Markup]:
    for cell in result.cells:
        facets = [_seconds(cell.arms)]
        memory = {name: arm for name, arm in cell.arms.items() if arm.peak}
        if memory:
            facets.append(bars("Peak of the process", "MB", [
                Bar(name, _colour(name), _exactly(arm.peak / 1e6), megabytes(arm.peak))
                for name, arm in memory.items()
            ]))  # fmt: skip
        yield figure(f"{cell.setting['batch']} pairs a step", facets)


def _memory(result: Result) -> Iterator[Markup]:
    charts = []
    for size in dict.fromkeys(cell.setting["vocabulary"] for cell in result.cells):
        cells = [c for c in result.cells if c.setting["vocabulary"] == size]
        names = dict.fromkeys(name for cell in cells for name in cell.arms)
        series = tuple(
            Series(name, _colour(name), tuple(
                _exactly(c.arms[name].above / 1e6, float(c.setting["scored"]))
                for c in cells if name in c.arms
            ), dash=int(recomputes(name))) for name in names
        )  # fmt: skip
        charts.append(Lines(f"vocabulary of {size:,}", "MB", "scored tokens", series))
    top = max(chart.top for chart in charts)
    facets = [lines(chart, top) for chart in charts]
    yield figure("Peak above what was resident before step 1", facets, charts[0].series)


def _growth(result: Result) -> Iterator[Markup]:
    kinds = dict.fromkeys(str(cell.setting["grows"]) for cell in result.cells)
    charts = [_grown(kind, [c for c in result.cells if c.setting["grows"] == kind])
              for kind in kinds]  # fmt: skip
    legend = {series.name: series for chart in charts for series in chart.series}
    yield figure("Cost of a step by size", list(map(lines, charts)), list(legend.values()))


def _grown(kind: str, cells: Sequence[Cell]) -> Lines:
    line = fitted(cells)
    sizes = [float(c.setting["size"] if line is None else c.facts["tokens"]) for c in cells]
    measured = tuple(_median(c.arms["step"], at, 1000) for c, at in zip(cells, sizes, strict=True))
    series = [Series("measured", OWN, measured)]
    if line is None:
        return Lines(f"by {kind}", "ms to draw a batch", kind, tuple(series), powers=True)
    fit = tuple(_exactly(1000 * s, at) for s, at in zip(line, sizes, strict=True))
    series.append(Series("a line in tokens and attended pairs", LINE, fit, dash=1, bare=True))
    return Lines(f"by {kind}", "ms a step", "unique tokens", tuple(series))


def _start(result: Result) -> Iterator[Markup]:
    arms = {str(c.setting["command"]): arm for c in result.cells for arm in c.arms.values()}
    yield figure("Time to an answer", [_seconds(arms, "")])


def _ranks(result: Result) -> Iterator[Markup]:
    for cell in result.cells:
        yield figure(f"{cell.setting['batch']} pairs a step", [_seconds(cell.arms)])


def _seconds(arms: Mapping[str, Arm], title: str = "Time") -> Markup:
    given = [Bar(n, _colour(n), _median(arm), digits(arm.median)) for n, arm in arms.items()]
    return bars(title, "seconds", given)


def _median(arm: Arm, at: float = 0.0, scale: float = 1.0) -> Median:
    """Of the seconds, times `scale`."""
    return Median(at, scale * arm.median, scale * min(arm.seconds), scale * max(arm.seconds))


def _exactly(value: float, at: float = 0.0) -> Median:
    """A value that was taken once."""
    return Median(at, value, value, value)


def _colour(name: str) -> int:
    return PEER if name.startswith("trl") else OWN


SUITES: dict[str, Callable[[Result], Iterator[Markup]]] = {
    "lists": _lists, "pairs": _versus, "views": _versus, "memory": _memory, "growth": _growth,
    "start": _start, "ranks": _ranks,
}  # fmt: skip
