"""The lab on one HTML page that holds everything it shows and asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bvrank.lab.plots import errors, marginal, training
from bvrank.lab.result import Result
from bvrank.lab.tables import Table, tables
from bvrank.reports.grid import scrolling
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.page import document

HOW = (
    "A transformer small enough that every trace can be scored: sums over traces are exact, in "
    "float64. g_t is the gradient of DPO on one drawn trace to each answer, g_e that of DPO with "
    "the trace disabled, g_c = alpha g_t + (1 - alpha) g_e what BVPO follows, mu the gradient of "
    "the true marginal loss L_m, the traces summed out. b is a bias, S a covariance."
)


SECTIONS = {  # title -> tables
    "Error against alpha": ("alphas", "gradients", "batches"),
    "Several traces": ("estimators",),
    "Training": ("arms", "bound"),
}


def page(result: Result) -> str:
    """The whole page. No time of day in it: the same result gives the same page."""
    shown = {table.name: table for table in tables(result)}
    drawn = {
        "Error against alpha": errors(result), "Several traces": marginal(result),
        "Training": training(result.training) if result.training else Markup(""),
    }  # fmt: skip
    return document(
        "bvrank lab",
        element("h1", "The lab: bias and variance, exactly"),
        element("p", HOW, class_="dim"),
        *_remarks(result),
        _table(shown["checks"]),
        *(
            _section(title, drawn[title], [shown[name] for name in names if name in shown])
            for title, names in SECTIONS.items()
        ),
        _settings(result.settings),
    )


def _remarks(result: Result) -> list[Markup]:
    """What does not hold, before any figure."""
    failed = [element("li", f"Violated: {c.says}") for c in result.checks if c.violated]
    return [element("ul", *failed, class_="remarks")] if failed else []


def _section(title: str, drawn: Markup, shown: Sequence[Table]) -> Markup:
    if not drawn and not shown:
        return Markup("")
    return element("section", element("h2", title), drawn, *map(_table, shown))


def _table(table: Table) -> Markup:
    numbers = table.heads[table.names :]
    notes = [element("p", note, class_="caption") for note in table.notes]
    return together(element("h3", table.title), scrolling(table.heads, table.lines, numbers),
                    *notes)  # fmt: skip


def _settings(settings: Mapping[str, Any]) -> Markup:
    pairs = [part for key, value in settings.items()
             for part in (element("dt", key), element("dd", _told(value)))]  # fmt: skip
    return element("details", element("summary", "Settings"),
                   element("div", element("dl", *pairs)))  # fmt: skip


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_told(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
