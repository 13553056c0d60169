"""Runs side by side: seeds of one configuration pooled, everything else a row of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from bvrank.reports.figures import ACCURACY, TRAINING, chosen, figures, title, told
from bvrank.reports.spread import Spread, spread
from bvrank.run import IGNORED, RunRecord, label, to_json
from bvrank.run.identity import canonical, flatten

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
    """What a report shows: a heading, the figures that are columns, the rows, and remarks."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def header(self) -> list[str]:
        """The titles of all columns."""
        settings = list(self.rows[0].keys) if self.rows else []
        return ["run", *settings, "n", "seeds", *map(title, self.columns), "status"]

    def cells(self, row: Row) -> list[str]:
        """The texts of one row, as many as `header` has."""
        told_figures = [cell(name, row.figures.get(name)) for name in self.columns]
        return [row.name, *row.keys.values(), str(row.n), row.seeds, *told_figures, row.status]


def rows_of(records: Sequence[RunRecord]) -> tuple[list[Row], list[str]]:
    """Finished runs pooled over seeds, then each unfinished one; and remarks on runs left out."""
    shown = _telling_keys(records)
    done = [r for r in records if r.status == "finished"]
    groups: dict[str, dict[Any, RunRecord]] = {}
    notes = []
    for record in sorted(done, key=lambda r: str(r.manifest.get("ended")), reverse=True):
        seeds = groups.setdefault(to_json(_identity(record)), {})
        if seeds.setdefault(record.seed, record) is not record:
            newer = seeds[record.seed].name
            notes.append(f"{record.name} repeats {newer} (same seed) and is not counted again.")
    pooled = [sorted(g.values(), key=lambda r: str(r.path)) for g in groups.values()]
    pooled.sort(key=lambda g: [str(r.path) for r in records].index(str(g[0].path)))
    rows = [_row(group, shown) for group in pooled]
    rows += [_row([r], shown) for r in records if r.status != "finished"]
    notes += [f"{r.name}: {problem}." for r in records for problem in r.problems]
    return rows, notes


def tables(records: Sequence[RunRecord]) -> list[Table]:
    """The tables of a report: accuracy of the answers where it was measured, and training."""
    rows, notes = rows_of(records)
    names = [name for row in rows for name in row.figures]
    made = []
    if accuracy := chosen(names, ACCURACY):
        with_figures = [
            r for r in rows if r.status != "finished" or any(map(r.figures.get, accuracy))
        ]
        made.append(Table("Accuracy of the final answer", tuple(accuracy), tuple(with_figures)))
    training = chosen(names, TRAINING)
    made.append(Table("Training", tuple(training), tuple(rows), tuple(notes)))
    return made


def cell(name: str, figure: Spread | None) -> str:
    """`0.512 ± 0.021 (sd 0.017)`; the mean alone for one run."""
    if figure is None:
        return MISSING
    mean = told(name, figure.mean)
    if figure.std is None or figure.half is None:
        return mean
    half, std = (told(name, v).lstrip("+") for v in (figure.half, figure.std))
    return f"{mean} ± {half} (sd {std})"


def grid(table: Table) -> Grid:
    """The table for a terminal."""
    made = Grid(title=table.heading, title_justify="left", title_style="bold")
    for number, head in enumerate(table.header()):
        figure = head in map(title, table.columns) or head == "n"
        made.add_column(Text(head), justify="right" if figure else "left", overflow="fold")
        made.columns[number].min_width = min(len(head), 8)
    for row in table.rows:
        style = None if row.status == "finished" else "red"
        made.add_row(*map(Text, table.cells(row)), style=style)
    return made


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
    found: dict[str, Any] = canonical({k: v for k, v in record.config.items() if k not in UNSHOWN})
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
