"""Two arms of evaluations, compared prompt by prompt.

An arm is what one or several seeds gave: results of one task that was measured in one way. A run of
an arm is a policy, that is a trained run at a step: several evaluations of one are averaged, since
they say nothing of what another training would give. The first figure of each mode is tested, and
its p-value adjusted over all tests of all arms (Holm, 1979); the others are shown with their
interval. No other figure takes its place: where the first ones are two, nothing of the mode is
tested, and a note says so, as of every figure that cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from bvrank.errors import RunError
from bvrank.evaluation.metrics import bounds, is_share
from bvrank.evaluation.pooling import aligned, elsewhere, is_mean, policies
from bvrank.evaluation.result import POINT, Result
from bvrank.run.methods import apart, other_data, short, silent, telling
from bvrank.statistics import Cells, Difference, difference, holm, needed_between, of_runs

Arm = Mapping[str, Sequence[Result]]  # task -> its results
SHOWN = 2


@dataclass(frozen=True)
class Compared:
    """A figure of two arms: the means, the paired difference (second over first), whether it is
    tested, how many prompts would show a difference of a point (None: no number would, or it is no
    share), the share of the variance that runs add, whether more is better (None: neither way is),
    and the p-value adjusted over the whole comparison (None: not tested, or not yet adjusted)."""

    task: str
    figure: str
    values: tuple[float, float]
    found: Difference
    tested: bool
    needed: int | None
    of_runs: float = 0.0
    higher: bool | None = None
    adjusted: float | None = None


def compared(first: Arm, second: Arm, names: tuple[str, str]) -> tuple[list[Compared], list[str]]:
    """Every figure that both arms have, and notes on what differs beside the policies. RunError
    where they have no task or no figure in common, another version, other data or prompts."""
    tasks = [task for task in first if task in second]
    if not tasks:
        raise RunError(
            "have no task in common", where=" and ".join(names),
            repair=f"There are {_few(list(first))} and {_few(list(second))}.",
        )  # fmt: skip
    rows: list[Compared] = []
    notes: list[str] = []
    gone: list[str] = []
    for task in tasks:
        _check(task, (*first[task], *second[task]))
        notes += _notes(task, first[task], second[task], names)
        every = aligned((*first[task], *second[task]))
        arms = every[: len(first[task])], every[len(first[task]) :]
        gone += _left_out(task, arms, names)
        rows += _rows(task, *arms, names)
    if not rows:
        raise RunError("no figure can be compared", where=" and ".join(names),
                       repair=f"{'; '.join(gone)}.")  # fmt: skip
    return rows, notes + gone


def adjusted(tables: Sequence[Sequence[Compared]]) -> list[list[Compared]]:
    """The rows of all pairs of arms, with their tests adjusted together."""
    p = holm({(i, n): row.found.p for i, rows in enumerate(tables) for n, row in enumerate(rows)
              if row.tested})  # fmt: skip
    return [
        [replace(row, adjusted=p.get((i, n))) for n, row in enumerate(rows)]
        for i, rows in enumerate(tables)
    ]


def _rows(task: str, first: Sequence[Result], second: Sequence[Result], names: tuple[str, str]
          ) -> Iterator[Compared]:  # fmt: skip
    both = (first, second)
    heads = [_heads(arm) for arm in both]
    for figure in first[0].cells:
        if not all(figure in r.cells and is_mean(r, figure) for results in both for r in results):
            continue
        keys = _keys(task, figure, first, second, names)
        a, b = (_cells(results, figure, keys) for results in both)
        found = difference(a, b, bounds=bounds(figure))
        mode, values = figure.rpartition("/")[0], (float(a.mean()), float(b.mean()))
        points = needed_between(a, b, POINT) if is_share(figure, max(values, key=abs)) else None
        yield Compared(task, figure, values, found, all(h[mode] == figure for h in heads), points,
                       of_runs(a, b), first[0].better(figure))  # fmt: skip


def _heads(arm: Sequence[Result]) -> dict[str, str]:
    """The first figure of each mode."""
    found: dict[str, str] = {}
    for figure in arm[0].cells:
        found.setdefault(figure.rpartition("/")[0], figure)
    return found


def _left_out(task: str, arms: tuple[Sequence[Result], Sequence[Result]], names: tuple[str, str]
              ) -> list[str]:  # fmt: skip
    """Which figures are not compared and why, and modes of which none is tested."""
    every = dict.fromkeys(figure for arm in arms for r in arm for figure in r.cells)
    lacking: dict[str, list[str]] = {}
    for figure in every:
        there = [sum(figure in r.cells for r in arm) for arm in arms]
        if min(there) == 0:
            lacking.setdefault(f"only {names[there[0] == 0]} has", []).append(figure)
        elif sum(there) < sum(map(len, arms)):
            lacking.setdefault("not every evaluation has", []).append(figure)
        elif not all(is_mean(r, figure) for arm in arms for r in arm):
            lacking.setdefault("no mean over prompts is", []).append(figure)
    notes = [f"{task}: {why} {', '.join(own)}" for why, own in lacking.items()]
    gone = {figure for own in lacking.values() for figure in own}
    first, second = map(_heads, arms)
    for mode in (m for m in first if m in second):
        a, b = first[mode], second[mode]
        of = f" of {mode}" if mode else ""
        if a != b:
            notes.append(f"{task}: no figure{of} is tested: the first is {a} there and {b} here")
        elif a in gone:
            notes.append(f"{task}: no figure{of} is tested: {a} is the first")
    return notes


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
    """[P,R] by prompt and policy."""
    return np.array([[fmean(r.cells[figure][key] for r in own) for own in policies(results)]
                     for key in keys])  # fmt: skip


def _check(task: str, results: Sequence[Result]) -> None:
    versions = sorted({r.version for r in results})
    if len(versions) > 1:
        raise RunError(f"{task} was measured by its versions {versions[0]} and {versions[-1]}",
                       repair="Evaluate again what is of the older one, by the command that made "
                       "it: the new result counts in its place.")  # fmt: skip


def _notes(task: str, first: Sequence[Result], second: Sequence[Result],
           names: tuple[str, str]) -> list[str]:  # fmt: skip
    """Settings of the evaluation that are not the same, and seeds that do not pair. RunError where
    the data are not the same."""
    found = apart(*(telling([r.settings for r in arm]) for arm in (first, second)))
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
    return notes + _counts(task, first, second, names)


def _counts(task: str, first: Sequence[Result], second: Sequence[Result],
            names: tuple[str, str]) -> list[str]:  # fmt: skip
    """What evaluations and policies the intervals stand on."""
    notes, arms = [], [(name, arm, len(policies(arm))) for name, arm in
                       zip(names, (first, second), strict=True)]  # fmt: skip
    for name, arm, count in arms:
        notes += [f"{task}: {note} ({name})" for note in elsewhere(arm)]
        if count < len(arm):
            of = f"{count} polic{'ies' if count > 1 else 'y'}"
            notes.append(f"{task}: the {len(arm)} evaluations in {name} are of {of}, and averaged "
                         "within each")  # fmt: skip
    if alone := [name for name, _, count in arms if count == 1]:
        notes.append(f"{task}: one policy in {' and in '.join(alone)}: intervals and p say nothing "
                     "of what another training run would give")  # fmt: skip
    if arms[0][2] != arms[1][2]:
        notes.append(f"{task}: {arms[0][2]} policies against {arms[1][2]}, which do not pair")
    elif arms[0][2] > 1:
        pairs = zip(*(policies(arm) for arm in (first, second)), strict=True)
        told = "; ".join(f"{a[0].model} with {b[0].model}" for a, b in pairs)
        notes.append(f"{task}: policies are paired, runs by the order of their seeds: {told}")
    if min(arms[0][2], arms[1][2]) == 2:
        notes.append(f"{task}: two policies say little of a third: where they differ as much as "
                     "prompts do, their interval holds the truth in 84 % of cases")  # fmt: skip
    return notes


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
