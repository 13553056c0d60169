"""A table in HTML, in a box that scrolls by itself: a page stays as wide as its screen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bvrank.reports.markup import Markup, element
from bvrank.reports.text import cut, one_line

SHORT = 24  # characters up to which a cell keeps to one line
LONGEST = 600  # characters of a cell that are shown


def scrolling(
    heads: Sequence[str], lines: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> Markup:
    """`lines` under `heads`; the columns in `numbers` stand to the right."""
    top = [
        element("th", one_line(head), scope="col", class_="figure" if head in numbers else "short")
        for head in heads
    ]
    body = [
        element("tr", *(_cell(c, head in numbers) for c, head in zip(cells, heads, strict=True)))
        for cells in lines
    ]
    made = element("table", element("thead", element("tr", *top)), element("tbody", *body))
    return element("div", made, class_="wide", tabindex=0)


def _cell(text: str, number: bool) -> Markup:
    told = cut(one_line(text), LONGEST)
    look = "figure" if number else "short" if len(told) <= SHORT else "long"
    return element("td", told, class_=look)
