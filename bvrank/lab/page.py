"""The lab on one HTML page that holds everything it shows and asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
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


def page(result: Result) -> str:
    """The whole page. No time of day in it: the same result gives the same page."""
    title, first, *rest = "bvrank lab", *tables(result)
    failed = [c.says for c in result.checks if not c.holds]
    remarks = [element("ul", *(element("li", f"Violated: {says}") for says in failed),
                       class_="remarks")] if failed else []  # fmt: skip
    return document(
        title,
        element("h1", "The lab: bias and variance, exactly"),
        element("p", HOW, class_="dim"),
        *remarks,
        _table(first),
        errors(result),
        marginal(result),
        training(result.training) if result.training else Markup(""),
        *map(_table, rest),
        _settings(result.settings),
    )


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
