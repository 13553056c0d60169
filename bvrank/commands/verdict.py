"""What `bvrank evaluate` shows: figures with intervals, counts beside them, and what n would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bvrank.evaluation.metrics import is_share
from bvrank.evaluation.result import Result
from bvrank.statistics import Estimate


def show(results: Mapping[str, Result], folders: Mapping[str, Path]) -> None:
    """A table for each task, with what its notes say and where the samples lie."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for name, result in results.items():
        at = "" if result.step is None else f" at step {result.step}"
        table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left",
                      title=f"{name}: {result.model}{at}")  # fmt: skip
        modes, rows = grid(result)
        for head in ("", *modes):
            table.add_column(head, justify="right" if head else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for note in result.notes:
            console.print(f"note: {note}", markup=False)
        for line in power(result):
            console.print(line, markup=False)
        console.print(f"samples: {folders[name]}", markup=False, soft_wrap=True)


def grid(result: Result) -> tuple[list[str], list[list[str]]]:
    """Modes across, metrics down, headed by their scale as in a report; "" is the mode of figures
    that have none."""
    modes = list(dict.fromkeys(name.rpartition("/")[0] for name in result.figures))
    metrics = list(dict.fromkeys(name.rpartition("/")[2] for name in result.figures))
    found: dict[tuple[str, str], Any] = {
        (name.rpartition("/")[0], name.rpartition("/")[2]): e for name, e in result.figures.items()
    }
    rows: list[list[str]] = []
    for metric in metrics:
        own = [found.get((mode, metric)) for mode in modes]
        share = all(_is_share(metric, e) for e in own)
        rows.append([f"{metric}, %" if share else metric, *(figure(e, share) for e in own)])
    return [mode or "value" for mode in modes], [*rows, ["n", *(_n(result, m) for m in modes)]]


def _is_share(metric: str, e: Estimate | None) -> bool:
    return e is None or is_share(metric, 0.0 if math.isnan(e.value) else e.value)


def _n(result: Result, mode: str) -> str:
    """Prompts of a column's figures; from fewest to most where these differ."""
    own = [e.prompts for name, e in result.figures.items() if name.rpartition("/")[0] == mode]
    few, most = min(own), max(own)
    return f"{few:,}" if few == most else f"{few:,} to {most:,}"


def figure(e: Estimate | None, share: bool) -> str:
    """`34.5 [31.2, 37.9]`: a share in per cent, as its line is headed."""
    if e is None:
        return ""
    scale, digits = (100.0, 1) if share else (1.0, 1 if abs(e.value) >= 10 else 3)
    value = f"{scale * e.value:.{digits}f}"
    if math.isnan(e.interval[0]):
        return value
    low, high = (f"{scale * v:.{digits}f}" for v in e.interval)
    return f"{value} [{low}, {high}]"


def power(result: Result) -> list[str]:
    """How many prompts would show a gain of a point, for the headline: if it is a share of which
    more is better."""
    name, e = next(iter(result.figures.items()), ("", None))
    if e is None or not is_share(name, e.value) or not result.better(name):
        return []
    n = result.power(name)
    if n is None:
        return []
    return [f"power: +1 point of {name} between two independent evaluations is seen in four of "
            f"five tries with {n:,} prompts in each"]  # fmt: skip
