"""No two curves of a plot look the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bvrank.bench import plots
from bvrank.bench.result import Result
from bvrank.reports.drawing import Lines
from tests.bench.results import arm, every, memory


def with_recomputed(result: Result) -> Result:
    extra = {"bvrank micro 1 recomputed": arm(1, peak=2_000_000, above=500_000)}
    cells = tuple(replace(c, arms={**c.arms, **extra}) for c in result.cells)
    return replace(result, cells=cells)


@pytest.mark.parametrize("result", [*every(), with_recomputed(memory())], ids=lambda r: r.suite)
def test_curves_of_one_plot_differ_in_colour_or_dash(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Lines] = []
    real = plots.lines

    def lines(chart: Lines, *given: Any) -> Any:
        drawn.append(chart)
        return real(chart, *given)

    monkeypatch.setattr(plots, "lines", lines)
    assert plots.plots(result)
    for chart in drawn:
        looks = [(s.colour, s.dash, s.bare) for s in chart.series]
        assert len(set(looks)) == len(looks), [s.name for s in chart.series]
