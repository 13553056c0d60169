"""The report as one HTML page that holds everything it shows and asks for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bvrank.reports.curves import Panel, panels
from bvrank.reports.grid import scrolling
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.origin import configurations, sources
from bvrank.reports.rows import Row, rows_of
from bvrank.reports.samples import samples
from bvrank.reports.style import POLICY, STYLE
from bvrank.reports.svg import drawn
from bvrank.reports.tables import INTERVALS, NUMBERS, Table
from bvrank.reports.text import cut, one_line
from bvrank.run import RunRecord

HOW = (
    "Figures are means over n seeds, ± half the width of their 95 % interval (Student's t), with "
    "the standard deviation over seeds (sd); a single run has its figure alone. Of an evaluation, "
    f"{INTERVALS}"
)


def page(records: Sequence[RunRecord], shown: Sequence[Table]) -> str:
    """The whole page: tables, curves, examples, configuration, provenance. No time of day in it:
    the same runs give the same page."""
    rows, notes = rows_of(records)
    parts = {
        "Tables": together(*map(html_table, shown)),
        "Curves": curves(rows),
        "Examples before and after": samples(rows),
        "Configuration": configurations(rows),
        "Where the runs come from": sources(records),
    }
    sections = [(f"s{n}", t, body) for n, (t, body) in enumerate(parts.items()) if body]
    links = [element("a", title, href=f"#{name}") for name, title, _ in sections]
    body = [
        element("h1", "Report"),
        element("p", counted(records)),
        *_remarks(notes),
        element("p", HOW, class_="dim"),
        element("nav", *links),
        *(element("section", element("h2", t), b, id=name) for name, t, b in sections),
    ]
    return document(f"bvrank report: {counted(records)}", *body)


def document(title: str, *body: Markup) -> str:
    """A page that holds everything it shows, for light and dark."""
    main = element("body", element("main", *body))
    return f"<!DOCTYPE html>\n{element('html', _head(title), main, lang='en')}\n"


def counted(records: Sequence[RunRecord]) -> str:
    """As in `5 runs: 3 finished, 1 failed, 1 killed`."""
    states = Counter(r.status for r in records)
    told = ", ".join(f"{n} {one_line(cut(s, 40))}" for s, n in states.most_common())
    return f"{len(records)} run{'s' if len(records) != 1 else ''}: {told}"


def html_table(table: Table) -> Markup:
    """The cells of `table`, as the terminal shows them, in a box that scrolls by itself."""
    numbers = {*table.columns, *NUMBERS}
    return together(element("h3", table.heading), scrolling(table.header(), table.body(), numbers))


def curves(rows: Sequence[Row]) -> Markup:
    """A figure per panel for which something was logged."""
    logged = {n: row for n, row in enumerate(rows) if any(r.metrics for r in row.runs)}
    names = {k for row in logged.values() for r in row.runs for m in r.metrics for k in m}
    figures = [f for panel in panels(names) for f in _figures(panel, logged)]
    return together(*(drawn(panel, part) for panel, part in figures))


def _figures(panel: Panel, rows: Mapping[int, Row]) -> Iterator[tuple[Panel, Mapping[int, Row]]]:
    """The panel; the losses of several objectives apart, as they are different quantities."""
    objectives = sorted({row.objective for row in rows.values()})
    if panel.name != "loss" or len(objectives) == 1:
        yield panel, rows
        return
    for name in objectives:
        heading = f"{panel.heading}, {name or 'objective unknown'}"
        part = {n: row for n, row in rows.items() if row.objective == name}
        yield replace(panel, heading=heading), part


def _head(title: str) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(STYLE)),
    )


def _remarks(notes: Sequence[str]) -> Iterator[Markup]:
    """What is not as it should be, before any figure."""
    if notes:
        lines = [element("li", cut(one_line(note), 400)) for note in notes]
        yield element("ul", *lines, class_="remarks")
