"""Two arms of evaluations, compared prompt by prompt.

An arm is what one or several seeds gave: results of one task whose settings differ in the seed
alone are runs of it. The first figure of each mode is tested (its p-value is adjusted over all that
are tested in a comparison, Holm, 1979); the others are shown with their interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bvrank.errors import RunError
from bvrank.evaluation.result import POINT, Result
from bvrank.run.methods import apart, other_data, short, silent
from bvrank.statistics import Cells, Difference, difference, holm, needed

Arm = Mapping[str, Sequence[Result]]  # task -> its results, a run each
CLOSE = 1e-9
SHOWN = 2


@dataclass(frozen=True)
class Compared:
    """A figure of two arms: the means, the paired difference (second over first), its adjusted
    p-value (None: not tested), and how many prompts would show a difference of a point."""

    task: str
    figure: str
    values: tuple[float, float]
    found: Difference
    adjusted: float | None
    needed: int | None


def compared(first: Arm, second: Arm, names: tuple[str, str]) -> tuple[list[Compared], list[str]]:
    """Every figure that both arms have, and notes on what differs beside the policies. RunError
    where they have no task in common, or another version of it, other data or other prompts."""
    tasks = [task for task in first if task in second]
    if not tasks:
        raise RunError(
            "have no task in common", where=" and ".join(names),
            repair=f"There are {_few(list(first))} and {_few(list(second))}.",
        )  # fmt: skip
    rows: list[Compared] = []
    notes: list[str] = []
    for task in tasks:
        _check(task, (*first[task], *second[task]))
        notes += _notes(task, first[task], second[task], names)
        rows += _rows(task, first[task], second[task], names)
    adjusted = holm({n: row.found.p for n, row in enumerate(rows) if row.adjusted is not None})
    return [
        Compared(r.task, r.figure, r.values, r.found, adjusted.get(n), r.needed)
        for n, r in enumerate(rows)
    ], notes


def _rows(task: str, first: Sequence[Result], second: Sequence[Result], names: tuple[str, str]
          ) -> Iterator[Compared]:  # fmt: skip
    tested: set[str] = set()
    for figure in first[0].cells:
        both = (first, second)
        if not all(figure in r.cells and _is_mean(r, figure) for results in both for r in results):
            continue
        keys = _keys(task, figure, first, second, names)
        a, b = (_cells(results, figure, keys) for results in both)
        found = difference(a, b)
        mode = figure.rpartition("/")[0]
        adjusted = None if mode in tested else found.p
        tested.add(mode)
        gaps = b.mean(1) - a.mean(1)
        yield Compared(task, figure, (float(a.mean()), float(b.mean())), found, adjusted,
                       needed(gaps, POINT))  # fmt: skip


def _keys(task: str, figure: str, first: Sequence[Result], second: Sequence[Result],
          names: tuple[str, str]) -> list[str]:  # fmt: skip
    """The prompts, which have to be the same ones in every run."""
    wanted = first[0].cells[figure].keys()
    for result, name in [*((r, names[0]) for r in first), *((r, names[1]) for r in second)]:
        if odd := sorted(wanted ^ result.cells[figure].keys()):
            raise RunError(
                f"{task}, {figure}: {len(odd)} prompts are not in both, as {_few(odd)}", where=name,
                repair="Evaluate both on the same prompts: with the same limit, and the same file.",
            )  # fmt: skip
    return list(wanted)


def _cells(results: Sequence[Result], figure: str, keys: Sequence[str]) -> Cells:
    return np.array([[r.cells[figure][key] for r in results] for key in keys])


def _is_mean(result: Result, figure: str) -> bool:
    """Whether the figure is the mean of its cells: a fitted one cannot be compared by them."""
    values = [*result.cells[figure].values()]
    told = result.figures.get(figure)
    return (
        bool(values)
        and told is not None
        and math.isclose(sum(values) / len(values), told.value, rel_tol=CLOSE, abs_tol=CLOSE)
    )


def _check(task: str, results: Sequence[Result]) -> None:
    versions = sorted({r.version for r in results})
    if len(versions) > 1:
        raise RunError(f"{task} was measured by its versions {versions[0]} and {versions[-1]}",
                       repair="Evaluate the older one again with force=true.")  # fmt: skip


def _notes(task: str, first: Sequence[Result], second: Sequence[Result],
           names: tuple[str, str]) -> list[str]:  # fmt: skip
    """Settings of the evaluation that are not the same, and seeds that do not pair. RunError where
    the data are not the same."""
    found = apart(first[0].settings, second[0].settings)
    if data := other_data(found):
        raise RunError(f"{task} was measured on other data: {', '.join(data)}",
                       where=" and ".join(names),
                       repair="Evaluate both on the same data.")  # fmt: skip
    notes = [
        f"{task}: {key} is {short(old)} there and {short(new)} here" for key, old, new in found
    ]
    unsaid = [n for n, arm in zip(names, (first, second), strict=True)
              if any(silent(r.settings) for r in arm)]  # fmt: skip
    if unsaid:
        notes.append(f"{task}: how it was configured is not recorded in {' and '.join(unsaid)}, so "
                     "it may differ (force=true measures again)")  # fmt: skip
    if len(first) != len(second):
        alone = (
            "; a single one says nothing of other seeds" if 1 in map(len, (first, second)) else ""
        )
        notes.append(f"{task}: {len(first)} runs against {len(second)}, which do not pair{alone}")
    return notes


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
