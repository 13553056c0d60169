"""Runs side by side: seeds of one configuration pooled, everything else a row of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bvrank.reports.figures import MODES, figures, is_number, sampled, told, views
from bvrank.reports.spread import Spread, spread
from bvrank.run import IGNORED, RunRecord, label, to_json
from bvrank.run.identity import canonical, flatten, without_seeds

MISSING = "-"
UNSHOWN = (*IGNORED, "seed")  # top-level keys that do not tell configurations apart


@dataclass(frozen=True)
class Row:
    """One configuration over its seeds, or one run that did not finish.

    `keys` are the settings by which it differs from the other rows; `runs` the records behind it.
    """

    name: str
    keys: Mapping[str, str]
    runs: tuple[RunRecord, ...]
    figures: Mapping[str, Spread]
    status: str

    @property
    def n(self) -> int:
        """Seeds behind the figures: 0 for a run that did not finish."""
        return len(self.runs) if self.status == "finished" else 0

    @property
    def seeds(self) -> str:
        """The seeds, as in `0-3, 7`."""
        return _ranges([r.seed for r in self.runs])

    @property
    def title(self) -> str:
        """Its name with all that tells it apart, for a legend."""
        settings = [f"{k.rpartition('.')[2]}={v}" for k, v in self.keys.items() if v != MISSING]
        ended = [] if self.status == "finished" else [f"s{self.seeds}", f"({self.runs[0].status})"]
        return " ".join([self.name, *settings, *ended])


@dataclass(frozen=True)
class Table:
    """What a report shows: a heading, lines under columns, and remarks.

    A line is a row and the part of it that it shows: a mode, a view, or "" for all of it.
    `columns` maps a title to a figure's name, in which `{part}` stands for that part.
    """

    heading: str
    part: str
    columns: Mapping[str, str]
    lines: tuple[tuple[Row, str], ...]
    notes: tuple[str, ...] = ()

    def header(self) -> list[str]:
        """The titles of all columns."""
        keys = [k.removeprefix("objective.") for k in self.lines[0][0].keys] if self.lines else []
        part = [self.part] if self.part else []
        status = ["status"] if self._incomplete else []
        return ["run", *keys, *part, "n", "seeds", *self.columns, *status]

    def cells(self, row: Row, part: str, *, sd: bool = True) -> list[str]:
        """The texts of one line, as many as `header` has; `sd` adds standard deviations."""
        names = [figure_name(template, part) for template in self.columns.values()]
        figure_cells = [cell(name, row.figures.get(name), sd=sd) for name in names]
        parts = [MODES.get(part, part) or MISSING] if self.part else []
        status = [row.status] if self._incomplete else []
        return [row.name, *row.keys.values(), *parts, str(row.n), row.seeds, *figure_cells, *status]

    def body(self, *, sd: bool = True) -> list[list[str]]:
        """The cells of every line."""
        return [self.cells(row, part, sd=sd) for row, part in self.lines]

    @property
    def _incomplete(self) -> bool:
        return any(row.status != "finished" for row, _ in self.lines)


def rows_of(records: Sequence[RunRecord]) -> tuple[list[Row], list[str]]:
    """Finished runs pooled over seeds, then each unfinished one; and remarks on runs left out."""
    shown = _telling_keys(records)
    done = [r for r in records if r.status == "finished"]
    groups: dict[str, dict[str, RunRecord]] = {}
    notes = []
    for record in sorted(done, key=lambda r: str(r.manifest.get("ended")), reverse=True):
        seeds = groups.setdefault(to_json(_identity(record)), {})
        if (newest := seeds.setdefault(to_json(record.seed), record)) is not record:
            notes.append(
                f"{record.name} repeats {newest.name} (same seed) and is not counted again."
            )
    pooled = [sorted(g.values(), key=lambda r: str(r.path)) for g in groups.values()]
    pooled.sort(key=lambda group: _place(group[0], shown))
    rows = [_row(group, shown) for group in pooled]
    rows += [_row([r], shown) for r in records if r.status != "finished"]
    notes += [f"{r.name}: {problem}." for r in records for problem in r.problems]
    return rows, notes


def tables(records: Sequence[RunRecord]) -> list[Table]:
    """The tables of a report: accuracy of the answers, preferences by view, training.

    Each has a line for every run that did not finish; a table without a figure is left out.
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
        _table("Pairs by view", "view", by_view, rows, views(names)),
        _table("Training", "", training, rows, [""]),
    ]
    shown = [t for t in made if t.columns] or made[-1:]
    return [*shown[:-1], replace(shown[-1], notes=tuple(notes))]


def figure_name(template: str, part: str) -> str:
    """The name of a figure; without a view, names have no view in them."""
    return template.replace("{part}/", f"{part}/" if part else "")


def cell(name: str, figure: Spread | None, *, sd: bool = True) -> str:
    """`0.512 ± 0.021 (sd 0.017)`; the mean alone for one run."""
    if figure is None:
        return MISSING
    mean = told(name, figure.mean)
    if figure.std is None or figure.half is None:
        return mean
    half, std = (told(name, v).lstrip("+") for v in (figure.half, figure.std))
    return f"{mean} ± {half}" + (f" (sd {std})" if sd else "")


def grid(table: Table) -> Grid:
    """The table for a terminal: means and intervals."""
    made = Grid(
        title=table.heading, title_justify="left", title_style="bold", box=box.SIMPLE,
        padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for head in table.header():
        figure = head in table.columns or head == "n"
        justify: Literal["left", "right"] = "right" if figure else "left"
        made.add_column(Text(head), justify=justify, overflow="fold", no_wrap=figure)
    for (row, _), cells in zip(table.lines, table.body(sd=False), strict=True):
        made.add_row(*map(Text, cells), style=None if row.status == "finished" else "red")
    return made


def _table(
    heading: str, part: str, columns: Mapping[str, str], rows: Sequence[Row], parts: Sequence[str]
) -> Table:
    """The lines that have a figure, those that never will, and the columns with something in."""

    def filled(row: Row, p: str) -> list[str]:
        return [title for title, t in columns.items() if figure_name(t, p) in row.figures]

    finished = [(r, p) for r in rows if r.status == "finished" for p in parts]
    lines = [(r, p) for r, p in finished if filled(r, p) or not part]
    lines += [(r, "") for r in rows if r.status != "finished"]
    used = {title for row, p in lines for title in filled(row, p)}
    return Table(heading, part, {t: c for t, c in columns.items() if t in used}, tuple(lines))


def _row(runs: Sequence[RunRecord], shown: Sequence[str]) -> Row:
    first, settings = runs[0], _settings(runs[0])
    keys = {k: _text(settings[k]) if k in settings else MISSING for k in shown}
    finished = first.status == "finished"
    values: dict[str, list[float]] = {}
    for record in runs if finished else ():
        for name, value in figures(record).items():
            values.setdefault(name, []).append(value)
    spreads = {name: spread(v) for name, v in values.items()}
    return Row(_name(first), keys, tuple(runs), spreads, "finished" if finished else _end(first))


def _end(record: RunRecord) -> str:
    step = record.metrics[-1]["step"] if record.metrics else 0
    message = f": {record.message}" if record.message else ""
    return f"{record.status} at step {step}{message}"


def _name(record: RunRecord) -> str:
    targets = [_target(record, "objective"), _target(record, "data")]
    return "-".join(label(t) for t in targets if t) or record.name


def _target(record: RunRecord, key: str) -> str:
    node = record.config.get(key)
    return str(node.get("_target_") or "") if isinstance(node, Mapping) else ""


def _identity(record: RunRecord) -> dict[str, Any]:
    kept = {k: v for k, v in record.config.items() if k not in UNSHOWN}
    found: dict[str, Any] = canonical(without_seeds(kept, record.seed))
    return found or {"name": record.name}  # a run whose config is lost is like no other


def _settings(record: RunRecord) -> dict[str, Any]:
    return {k: v for k, v in flatten(_identity(record)).items() if v != {}}


def _telling_keys(records: Sequence[RunRecord]) -> list[str]:
    """Keys with two values among the runs that have them, or present in some runs only.

    A key that comes and goes with its group's `_target_` is told by the target already; the
    objective's and the data's targets are told by the row's name.
    """
    settings = [_settings(r) for r in records if r.config]
    keys = dict.fromkeys(k for s in settings for k in s)
    hidden = ("objective._target_", "data._target_")
    return [k for k in keys if k not in hidden and _tells(k, settings)]


def _tells(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    if len({_text(s[key]) for s in settings if key in s}) > 1:
        return True
    present: dict[Any, set[bool]] = {}
    for s in settings:
        present.setdefault(s.get(f"{key.partition('.')[0]}._target_"), set()).add(key in s)
    return any(len(seen) > 1 for seen in present.values())


def _place(record: RunRecord, shown: Sequence[str]) -> tuple[Any, ...]:
    """Where a row stands: by name, then by its settings, numbers by size and before words."""
    settings = _settings(record)
    values = [settings.get(key) for key in shown]
    ranked = [(0, v, "") if is_number(v) else (1, 0.0, _text(v)) for v in values]
    return (_name(record), ranked, record.name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def _ranges(seeds: Iterable[Any]) -> str:
    numbers = sorted(s for s in seeds if isinstance(s, int))
    parts: list[list[int]] = []
    for s in numbers:
        if parts and s == parts[-1][-1] + 1:
            parts[-1].append(s)
        else:
            parts.append([s])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) or MISSING
