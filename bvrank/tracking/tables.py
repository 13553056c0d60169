"""The tables of a run's summary, for trackers that show tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Column names, and one value for each in every row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def tables(summary: Mapping[str, Any]) -> dict[str, Table]:
    """Name -> table of what summary.json tells: `accuracy`, `rows`; only those it has."""
    made = {
        "accuracy": Table(
            ("mode", "measure", "before", "after", "gain", "stderr", "low", "high", "n"),
            tuple(_accuracy(summary.get("accuracy") or {})),
        ),
        "rows": Table(("rows", "number"), tuple(_rows(summary.get("rows") or {}))),
    }
    return {name: table for name, table in made.items() if table.rows}


def figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The summary's own numbers under flat keys: `accuracy/<mode>/after/avg@4`, `best/value`."""
    found = {f"best/{k}": v for k, v in (summary.get("best") or {}).items() if _is_number(v)}
    for mode, moments in (summary.get("accuracy") or {}).items():
        for moment, measures in moments.items():
            for measure, figure in measures.items():
                value = figure["value"] if isinstance(figure, Mapping) else figure
                if _is_number(value):
                    found[f"accuracy/{mode}/{moment}/{measure}"] = value
    return found


def _accuracy(accuracy: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """One row per mode and measure; the interval and its n are those of the paired gain."""
    for mode, moments in accuracy.items():
        for measure, gain in moments["gain"].items():
            before, after = (moments[m][measure]["value"] for m in ("before", "after"))
            ends = gain["value"], gain["stderr"], *gain["interval"], gain["n"]
            yield (mode, measure, before, after, *ends)


def _rows(rows: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    if "kept" in rows:
        yield "kept", rows["kept"]
        for reason, number in (rows.get("refused") or {}).items():
            yield f"refused: {reason}", number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|")
