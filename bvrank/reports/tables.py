"""Rows side by side: the tables that the page and the terminal show alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bvrank.reports.evaluations import HEAD, tasks
from bvrank.reports.figures import MODES, sampled, told, views
from bvrank.reports.rows import FEW_KEYS, MISSING, Row, ranges, rows_of
from bvrank.reports.spread import Spread
from bvrank.reports.text import one_line
from bvrank.run import RunRecord

COUNTS = ("n", "seeds")
# Of what was evaluated: what an interval is over, and of how much.
BASIS = ("interval over", "prompts", "evaluations", "runs", "seeds")
INTERVALS = (
    "[low, high]: 95 % interval over prompts, of one policy, its evaluations averaged prompt by "
    "prompt; ±: half of the 95 % interval over runs (Student's t)."
)
NUMBERS = ("n", "prompts", "runs")  # columns that stand to the right, as figures do


@dataclass(frozen=True)
class Table:
    """What a report shows: a heading, lines under columns, and remarks.

    A line is a row and the part of it that it shows: a mode, a view, or "" for all of it.
    `columns` maps a title to a figure's name, in which `{part}` stands for that part. `measured`:
    by evaluations, so that a line tells what its intervals are over.
    """

    heading: str
    part: str
    columns: Mapping[str, str]
    lines: tuple[tuple[Row, str], ...]
    notes: tuple[str, ...] = ()
    measured: bool = False

    def header(self) -> list[str]:
        """The titles of all columns."""
        part = [self.part] if self.part else []
        status = ["status"] if self._incomplete else []
        counts = BASIS if self.measured else COUNTS
        return ["run", *self._keys, *part, *self.columns, *counts, *status]

    def cells(self, row: Row, part: str, *, sd: bool = True) -> list[str]:
        """The texts of one line, as many as `header` has; `sd` adds standard deviations."""
        names = [figure_name(template, part) for template in self.columns.values()]
        figure_cells = [cell(name, row.figures.get(name), sd=sd) for name in names]
        parts = [MODES.get(part, part) or MISSING] if self.part else []
        status = [row.status] if self._incomplete else []
        settings = list(row.keys.values())
        if len(settings) > FEW_KEYS:
            settings = [", ".join(row.settings) or MISSING] if self._keys else []
        found = [row.figures[name] for name in names if name in row.figures]
        counts = _basis(found) if self.measured else [str(row.n)]
        return [row.name, *settings, *parts, *figure_cells, *counts, row.seeds, *status]

    def body(self, *, sd: bool = True) -> list[list[str]]:
        """The cells of every line."""
        return [self.cells(row, part, sd=sd) for row, part in self.lines]

    @property
    def _keys(self) -> list[str]:
        """A column for each of a few settings; one for all of many, as tables have to stay narrow;
        none where the names say it all."""
        keys = list(self.lines[0][0].keys) if self.lines else []
        if len(keys) <= FEW_KEYS:
            return [key.removeprefix("objective.") for key in keys]
        return ["settings"] if any(row.settings for row, _ in self.lines) else []

    @property
    def _incomplete(self) -> bool:
        return any(row.status != "finished" for row, _ in self.lines)


def tables(records: Sequence[RunRecord]) -> list[Table]:
    """The tables of a report: accuracy of the answers, evaluations, preferences by view, training.

    The last one has a line for every run that did not finish; one without a figure is left out.
    """
    rows, notes = rows_of(records)
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    accuracies = [n.split("/") for n in names if n.startswith("accuracy/")]
    modes = list(dict.fromkeys(parts[1] for parts in accuracies))
    measure = sampled(parts[2] for parts in accuracies)
    accuracy = {
        f"{measure} before, %": f"accuracy/{{part}}/{measure}/before",
        "after, %": f"accuracy/{{part}}/{measure}/after",
        "gain": f"accuracy/{{part}}/{measure}/gain",
        "greedy before, %": "accuracy/{part}/greedy/before",
        "greedy after, %": "accuracy/{part}/greedy/after",
    }
    by_view = {
        "margin": "{part}/rewards/margins",
        "ranked right, %": "{part}/rewards/accuracies",
        "held out, %": "eval/{part}/rewards/accuracies",
    }
    training = {"training loss": "loss", "held-out loss": "eval/loss", "seconds": "seconds"}
    made = [
        _table("Accuracy of the final answer", "mode", accuracy, rows, modes),
        *_evaluations(rows, names),
        _table("Pairs by view", "view", by_view, rows, views(names)),
        _table("Training", "", training, rows, [""]),
    ]
    shown = [t for t in made if t.columns] or made[-1:]
    return [*shown[:-1], replace(shown[-1], notes=(*shown[-1].notes, *notes))]


def _evaluations(rows: Sequence[Row], names: Sequence[str]) -> list[Table]:
    """A table for each task that `bvrank evaluate` measured."""
    made = []
    for task, modes in tasks(names).items():
        figures = dict.fromkeys(f for found in modes.values() for f in found)
        columns = {figure: f"{HEAD}/{task}/{{part}}/{figure}" for figure in figures}
        table = _table(f"Evaluation: {task}", "mode", columns, rows, [*modes])
        made.append(replace(table, measured=True, notes=(INTERVALS,)))
    return made


def figure_name(template: str, part: str) -> str:
    """The name of a figure; without a view, names have no view in them."""
    return template.replace("{part}/", f"{part}/" if part else "")


def cell(name: str, figure: Spread | None, *, sd: bool = True) -> str:
    """`0.512 ± 0.021 (sd 0.017)`; for one run its figure, with the interval it came with."""
    if figure is None:
        return MISSING
    mean = told(name, figure.mean)
    if figure.own is not None and all(map(math.isfinite, figure.own)):
        return f"{mean} [{told(name, figure.own[0])}, {told(name, figure.own[1])}]"
    if figure.std is None or figure.half is None:
        return mean
    half, std = (told(name, v).lstrip("+") for v in (figure.half, figure.std))
    return f"{mean} ± {half}" + (f" (sd {std})" if sd else "")


def _basis(found: Sequence[Spread]) -> list[str]:
    """Of the figures of a line: what their intervals are over, how many prompts, evaluations of a
    run with their seeds, and runs."""
    over = dict.fromkeys("runs" if s.n > 1 else "prompts" for s in found if s.n > 1 or s.own)
    bases = [s.basis for s in found if s.basis is not None]
    seeds = [own for basis in bases for own in basis.seeds]
    each, told = _span(map(len, seeds)), ranges(s for own in seeds for s in own)
    several = "s" if "," in told or "-" in told[1:] else ""
    return [" and ".join(over) or MISSING, _span(n for basis in bases for n in basis.prompts),
            each + (f", seed{several} {told}" if told != MISSING else ""),
            _span(s.n for s in found)]  # fmt: skip


def _span(numbers: Iterable[int]) -> str:
    """One number, or the fewest and the most."""
    found = sorted({*numbers})
    return " to ".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1]))) if found else MISSING


def grid(table: Table) -> Grid:
    """The table for a terminal: means and intervals."""
    made = Grid(
        title=table.heading, title_justify="left", title_style="bold", box=box.SIMPLE,
        padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for head in table.header():
        figure = head in table.columns or head in NUMBERS
        justify: Literal["left", "right"] = "right" if figure else "left"
        made.add_column(Text(one_line(head)), justify=justify, overflow="fold", no_wrap=figure)
    for (row, _), cells in zip(table.lines, table.body(sd=False), strict=True):
        texts = (Text(one_line(cell)) for cell in cells)
        made.add_row(*texts, style=None if row.status == "finished" else "red")
    return made


def _table(
    heading: str, part: str, columns: Mapping[str, str], rows: Sequence[Row], parts: Sequence[str]
) -> Table:
    """The lines that have a figure, and the columns with something in. Without a `part`, every row
    has a line."""

    def filled(row: Row, p: str) -> list[str]:
        return [title for title, t in columns.items() if figure_name(t, p) in row.figures]

    lines = [(r, p) for r in rows for p in parts if filled(r, p) or not part]
    used = {title for row, p in lines for title in filled(row, p)}
    return Table(heading, part, {t: c for t, c in columns.items() if t in used}, tuple(lines))
