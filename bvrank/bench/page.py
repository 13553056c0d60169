"""All suites on one HTML page that holds everything it shows and asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.bench.plots import plots
from bvrank.bench.result import DAMAGE, Result, not_a_measurement
from bvrank.bench.tables import SUITES, Table, tables
from bvrank.errors import RunError
from bvrank.reports.grid import scrolling
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.page import document
from bvrank.run import write_atomic

TITLES = {
    "lists": "Lists: one packed tree against a row per item",
    "pairs": "Pairs: DPO beside TRL",
    "views": "Views: BVPO beside TRL",
    "memory": "Memory of a step",
    "growth": "How cost grows",
    "start": "How soon commands answer",
    "ranks": "Two ranks against one",
}
HOW = (
    "Arms take turns, so that a busy machine slows all of them alike; those of memory, and on an "
    "accelerator those of pairs and views, run one after another, each alone. Times are medians "
    "over the steps (or starts) that the tables count; brackets and thin lines reach from the least"
    " to the most. The first step of an arm does not count."
)
SHARED = (
    "rounds",
    "steps",
    "limit",
    "threads",
    "device",
    "precision",
    "compile",
    "peer",
    "seed",
    "shape",
)
FILES = ("path",)  # settings of which the page tells no folder


def write(results: Sequence[Result], out: Path) -> Path:
    """`<out>/index.html`: every suite's tables and plots, and what they were measured on. RunError
    when it cannot be written, DataError when a result lacks a figure."""
    path = out / "index.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page(results))
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror or error})", where=str(path),
                       repair="Choose another folder with out=...") from error  # fmt: skip
    return path


def page(results: Sequence[Result]) -> str:
    """The whole page. No time of day in it: the same results give the same page."""
    sections = {r.suite: _section(r, tables(r)) for r in results}
    shown = sorted(results, key=lambda r: list(SUITES).index(r.suite))
    links = [element("a", TITLES[r.suite], href=f"#{r.suite}") for r in shown]
    return document(
        "bvrank bench",
        element("h1", "What a step costs"),
        element("p", HOW, class_="dim"),
        _machines(shown),
        element("nav", *links),
        *(sections[r.suite] for r in shown),
    )


def _machines(results: Sequence[Result]) -> Markup:
    """What each suite was measured on, a line each."""
    heads = list(dict.fromkeys(key for r in results for key in r.machine))
    lines = [[r.suite, *(str(r.machine.get(key, "")) for key in heads)] for r in results]
    return together(element("h3", "Measured on"), scrolling(["suite", *heads], lines))


def _section(result: Result, told: Sequence[Table]) -> Markup:
    try:
        return _drawn(result, told)
    except DAMAGE as error:
        raise not_a_measurement(error, Path(f"{result.suite}.json")) from error


def _drawn(result: Result, told: Sequence[Table]) -> Markup:
    return element(
        "section",
        element("h2", TITLES[result.suite]),
        *plots(result),
        *map(_table, told),
        _settings(result),
        id=result.suite,
    )


def _table(table: Table) -> Markup:
    numbers = table.heads[table.names :]
    notes = [element("p", note, class_="caption") for note in table.notes]
    found = scrolling(table.heads, table.lines, numbers)
    return together(element("h3", table.title), found, *notes)


def _settings(result: Result) -> Markup:
    own = result.settings.get(result.suite)
    told = {key: result.settings[key] for key in SHARED if key in result.settings}
    told |= own if isinstance(own, Mapping) else {}
    pairs = [e for key, value in told.items() for e in _setting(key, value)]
    return element("details", element("summary", "Settings"),
                   element("div", element("dl", *pairs)))  # fmt: skip


def _setting(key: str, value: Any) -> Iterator[Markup]:
    if value is None:
        return
    if key in FILES:
        value = Path(str(value)).name
    yield element("dt", key)
    yield element("dd", _told(value))


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_told(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
