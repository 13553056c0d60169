"""`bvrank report compare=[a,b]`: evaluations of two arms or more, the first against each other."""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bvrank.commands.ways import Found, check_one_way, current, kept, lost, wanted
from bvrank.errors import ConfigError, RunError
from bvrank.evaluation.comparison import Compared, adjusted, compared
from bvrank.evaluation.result import RESULT, Result, read_result
from bvrank.run import is_aside, is_run
from bvrank.run.record import read_config

HEADS = ("figure", "first", "second", "difference [95 %]", "p", "adjusted", "n", "n for 1 point")


def main(arms: Any, where: Any) -> int:
    """Prints a table for each comparison. ConfigError for fewer than two arms, and for what `where`
    cannot mean; RunError for one without evaluations."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    places = [(", ".join(own), found(own)) for own in _arms(arms)]
    every = [one for _, own in places for one in own]
    asked = wanted(where, every)
    read, said = [], list[list[str]]()
    for name, own in places:
        results, notes = arm(name, own, asked, every)
        read.append((name, results))
        said.append(notes)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    first, before = read[0]
    pairs = [compared(before, other, (first, name)) for name, other in read[1:]]
    tables = adjusted([rows for rows, _ in pairs])
    tests = sum(map(_tested, tables))
    for (name, _), own_notes, (_, notes), rows in zip(
        read[1:], said[1:], pairs, tables, strict=True
    ):
        table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left",
                      title=f"{name} (second) against {first} (first)")  # fmt: skip
        for head in HEADS:
            table.add_column(head, justify="left" if head == "figure" else "right")
        for row in rows:
            table.add_row(*cells(row))
        console.print(table)
        for note in (*said[0], *own_notes, *notes, *reading(rows, tests)):
            console.print(f"note: {note}", markup=False)
    return 0


def _arms(arms: Any) -> list[list[str]]:
    """The patterns of each arm. ConfigError for what is none."""
    repair = "As in compare=[outputs/a,outputs/b] or compare=[[outputs/a1,outputs/a2],outputs/b]."
    if not isinstance(arms, list) or len(arms) < 2:
        raise ConfigError(f"must name two arms or more, got {arms!r}", where="compare",
                          repair=repair)  # fmt: skip
    groups = [one if isinstance(one, list) else [one] for one in arms]
    for one, group in zip(arms, groups, strict=True):
        if not group or not all(isinstance(p, str) and p for p in group):
            raise ConfigError("an arm is a folder, a pattern or a list of these, got "
                              f"{one!r}", where="compare", repair=repair)  # fmt: skip
    return groups


def found(patterns: Sequence[str]) -> list[Found]:
    """The results below every folder that matches: evaluations themselves, or runs, of which those
    of the newest step count; what force=true moved aside only where a pattern asks for it. RunError
    where there is none."""
    places = dict.fromkeys(
        Path(p) for pattern in patterns for p in sorted(glob.glob(str(Path(pattern).expanduser())))
        if not is_aside(Path(p), pattern)
    )  # fmt: skip
    inside = [[p] if (p / RESULT).is_file() else _newest(p) for p in places]
    folders = dict.fromkeys(folder for own in inside for folder in own)
    if not folders:
        raise RunError("holds no finished evaluation", where=", ".join(patterns),
                       repair="bvrank evaluate run=... makes one.")  # fmt: skip
    return [(folder, read_result(folder)) for folder in folders]


def arm(name: str, results: Sequence[Found], where: Mapping[str, Any],
        every: Sequence[Found] = ()) -> tuple[dict[str, list[Result]], list[str]]:  # fmt: skip
    """Task -> those of the results that `where` asks for (see `kept`), by the newest version of the
    task; and notes on what was left out. RunError where a task was measured in
    several ways, or none is left."""
    tasks: dict[str, list[Found]] = {}
    asked = kept(name, results, where, every)
    gone = lost(name, results, asked, where, every)
    left, notes = current(name, asked)
    for folder, result in sorted(left, key=lambda one: _seed(one[0])):  # pairs go by this order
        tasks.setdefault(result.task, []).append((folder, result))
    for task, own in tasks.items():
        check_one_way(name, task, own)
    return {task: [result for _, result in own] for task, own in tasks.items()}, gone + notes


def _seed(folder: Path) -> int:
    """That a run was trained with, -1 of what is an evaluation of no run."""
    run, seed = folder.parent.parent, None
    if folder.parent.name == "evals" and is_run(run):
        with suppress(RunError):  # a damaged one has none
            seed = read_config(run).get("seed")
    return seed if isinstance(seed, int) else -1


def _newest(run: Path) -> list[Path]:
    """The finished evaluations of a run, of each task those of the last step that it has."""
    every = sorted(p.parent for p in (run / "evals").glob(f"*/{RESULT}"))
    folders = [folder for folder in every if not is_aside(Path(folder.name))]
    steps = {folder: _step(folder.name) for folder in folders}
    last: dict[str, int] = {}
    for task, step in steps.values():
        last[task] = max(last.get(task, step), step)
    return [folder for folder, (task, step) in steps.items() if step == last[task]]


def _step(name: str) -> tuple[str, int]:
    """Task and step of `<task>@<step>-s<seed>-<hash>`."""
    task, _, rest = name.rpartition("@")
    step = rest.partition("-")[0]
    return task, int(step) if step.isdecimal() else -1


def cells(row: Compared) -> list[str]:
    """A line of the table."""
    e = row.found.estimate
    interval = "" if math.isnan(e.interval[0]) else f" [{e.interval[0]:+.4f}, {e.interval[1]:+.4f}]"
    p, adjusted = ("" if v is None else _p(v) for v in
                   (row.found.p if row.tested else None, row.adjusted))  # fmt: skip
    n = f"{e.prompts:,}" + (f" x {e.runs}" if e.runs > 1 else "")
    return [f"{row.task} {row.figure}", *(f"{v:.4f}" for v in row.values),
            f"{e.value:+.4f}{interval}", p, adjusted, n,
            "" if row.needed is None or row.adjusted is None else f"{row.needed:,}"]  # fmt: skip


def _p(value: float) -> str:
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def reading(rows: Sequence[Compared], tests: int) -> list[str]:
    """What the tested rows of two arms say in words; `tests` of the whole comparison."""
    said = [f"{row.task} {row.figure}: the second is {_which(row)}" for row in rows
            if row.adjusted is not None and row.adjusted < 0.05]  # fmt: skip
    over = f"adjusted by Holm over {tests} test{'s' * (tests != 1)}"
    own = _tested(rows)
    none = f"none of the {own} tested figures differs at 0.05, {over}"
    said = said or [none if own else "nothing is tested"]
    return said + [
        f"{row.task} {row.figure}: {100 * row.of_runs:.0f} % of the variance is between runs; more "
        "runs lower it, more prompts do not"
        for row in rows if row.tested and row.of_runs > 0.5
    ]  # fmt: skip


def _which(row: Compared) -> str:
    """Neither better nor worse where the figure does not say so."""
    more = row.found.estimate.value > 0
    if row.higher is None:
        return "higher" if more else "lower"
    return "better" if more == row.higher else "worse"


def _tested(rows: Sequence[Compared]) -> int:
    return sum(row.adjusted is not None and not math.isnan(row.adjusted) for row in rows)
