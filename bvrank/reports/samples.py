"""Examples before and after: what the policy wrote, as it stands in each run's examples.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bvrank.reports.figures import mapping
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.rows import Row
from bvrank.reports.text import cut
from bvrank.run import RunRecord

MOST = 8  # examples of a run
LONG, SHORT = 1200, 300  # characters of a text: in a small report, in one of many rows
MANY = 8  # rows from which on texts are short
EMPTY = "(nothing)"


def samples(rows: Sequence[Row]) -> Markup:
    """The examples of one run of each row, the first row's opened."""
    most = LONG if len(rows) <= MANY else SHORT
    told = [(row, run) for row in rows for run in row.runs[:1] if run.examples]
    folded = [_run(row, run, most, number == 0) for number, (row, run) in enumerate(told)]
    return together(*folded)


def _run(row: Row, run: RunRecord, most: int, opened: bool) -> Markup:
    seed = element("span", f"seed {run.seed}" if row.n else "", class_="dim")
    examples = [together(*_example(e, most)) for e in run.examples[:MOST]]
    body = element("div", *(element("div", e, class_="example") for e in examples))
    attributes = {"open": ""} if opened else {}
    return element("details", element("summary", row.title, " ", seed), body, **attributes)


def _example(example: Mapping[str, Any], most: int) -> Iterator[Markup]:
    view = _text(example.get("view"))
    asked = [_told(f"prompt, view {view}" if view else "prompt", example.get("prompt"), most)]
    if example.get("gold") is not None:
        asked.append(_told("right answer", example["gold"], most))
    yield _beside(asked)
    yield _beside([_completion(name, example, most) for name in ("before", "after")])
    known = [name for name in ("chosen", "rejected") if example.get(name) is not None]
    yield _beside([_told(name, example[name], most) for name in known])


def _beside(parts: Sequence[Iterable[Markup]]) -> Markup:
    """Next to each other where there is room."""
    return element("div", *(element("div", *part) for part in parts), class_="pair")


def _completion(name: str, example: Mapping[str, Any], most: int) -> Iterator[Markup]:
    found = mapping(example.get(name))
    remark = "" if found.get("ended", True) else _unended(example)
    if name == "after" and found and found == example.get("before"):
        remark = f", the same{remark}"
    yield from _told(f"{name}{remark}", found.get("text"), most)


def _unended(example: Mapping[str, Any]) -> str:
    limit = _text(example.get("max_new_tokens"))
    return f", cut off after {limit} tokens" if limit else ", cut off"


def _told(label: str, text: Any, most: int) -> Iterator[Markup]:
    yield element("p", cut(label, 200), class_="label")
    if text is None:
        yield element("p", "none", class_="dim")
    else:
        yield element("pre", cut(_text(text), most) or EMPTY)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
