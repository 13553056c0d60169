"""`bvrank inspect`: rendered examples with their scored tokens, and what was refused.

On a terminal scored tokens are coloured in turn and context is dim; elsewhere scored spans stand
in [[brackets]] with `|` between tokens. Only the tokenizer is loaded, no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bvrank.commands.build import build, construct
from bvrank.errors import ConfigError, DataError
from bvrank.records import BARE, FULL, Encoded, Example, Refused

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bvrank.data.spans import Piece, Span
    from bvrank.data.templates import Template

QUANTILES = (50, 90, 99, 100)  # per cent
SHADES = ("green", "bright_cyan")  # two, in turn, so that borders between tokens show


@dataclass(frozen=True)
class Found:
    """The rows of a data node, encoded for one objective and tokenizer."""

    template: Template
    views: tuple[str, ...]
    kept: list[Encoded]
    refused: list[Refused]
    held_out: tuple[list[Encoded], list[Refused]]
    max_refused: float


def main(config: dict[str, Any]) -> int:
    """Prints `limit` rows, the lengths of all, and the refusals by reason."""
    from rich.console import Console

    limit, tokens = (_count(config, name, low) for name, low in (("limit", 0), ("tokens", 8)))
    found = _found(config)
    console = Console(soft_wrap=True, highlight=False)
    for row in found.kept[:limit]:
        _show(row, found, tokens, console)
    for table in (_lengths(found), _reasons(found)):
        if table.row_count:
            console.print(table)
    for line in _verdict(found):
        console.print(line, markup=False)
    return 0


def _found(config: dict[str, Any]) -> Found:
    from bvrank.commands.assemble import texts_of
    from bvrank.commands.counting import teaching
    from bvrank.commands.sections import Rendering
    from bvrank.commands.settings import split_intake
    from bvrank.data.encoding import encode
    from bvrank.models.corpus import Corpus
    from bvrank.objectives.schedule import Schedule
    from bvrank.paths import store_dir

    trusted = config["trusted"]
    objective = config.get("objective") and build(config["objective"], "objective", trusted)
    intake, node = split_intake(config["data"])
    source = build(node, "data", trusted)
    model = build(config["model"], "model", trusted)
    train, held = _rows(source, intake, config["seed"])
    corpus = Corpus(lambda: texts_of(source), store_dir(config["store"]))
    rendering: Rendering = construct(Rendering, config["template"], "template")
    template = rendering.template(model.tokenizer(corpus))
    views = tuple(objective.views) if objective else (FULL, BARE)

    def encoded(rows: Sequence[Example | Refused]) -> tuple[list[Encoded], list[Refused]]:
        found, refused = encode(
            rows, template, views=views, max_length=intake.max_length, overlong=intake.overlong,
            listing=getattr(source, "listing", None), seed=config["seed"],
        )  # fmt: skip
        if objective is None:
            return found, refused
        useful, useless = teaching(found, Schedule(objective, {}))
        return useful, [*refused, *useless]

    return Found(template, views, *encoded(train), encoded(held), intake.max_refused)


def _rows(
    source: Any, intake: Any, seed: int
) -> tuple[Sequence[Example | Refused], Sequence[Example | Refused]]:
    """What would train and what would be held out."""
    from bvrank.data.mix import worlds
    from bvrank.data.split import divided

    if any(world.path is None for world in worlds(source)):
        raise ConfigError(
            "its pairs are the model's own samples, made when training starts",
            where="data",
            repair="Train first; then look at data=pairs "
            "data.path=<store>/pairs/<name>/pairs.jsonl",
        )
    held_source = None if intake.eval_path is None else source.held(intake.eval_path)
    sides: tuple[list[Example | Refused], ...] = ([], [])
    for held, row in divided(source, held_source, intake.eval_fraction, seed):
        sides[held].append(row)
    return sides[0], sides[1]


def _verdict(found: Found) -> Iterator[str]:
    """What is kept and refused, and whether a run would stop over it."""
    from bvrank.data.refusals import check_refused, summarise

    yield summarise(len(found.kept), found.refused)
    held, lost = found.held_out
    if held or lost:
        yield f"held out: {summarise(len(held), lost)}"
    try:
        check_refused(len(found.kept), found.refused, found.max_refused, "a run would stop")
    except DataError as error:
        yield str(error)


def _count(config: dict[str, Any], name: str, low: int) -> int:
    value = config[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"must be a whole number of at least {low}, got {value!r}", where=name)
    return value


def _show(row: Encoded, found: Found, tokens: int, console: Console) -> None:
    from bvrank.data.spans import spans

    console.print(f"== {row.where}", style="bold underline", markup=False)
    for view in found.views:
        held = spans(row, view)
        if held:
            console.print(f"-- view {view}", style="bold", markup=False)
        for span in held:
            if span.branches:
                console.print(_label(span), style="bold", markup=False)
            console.print(_rendered(span, found.template, tokens, console.is_terminal))
    console.print()


def _label(span: Span) -> str:
    branch = span.branches[0]
    return (
        f"relevance {branch.relevance:g}, shown {branch.rank}, answer {branch.answer}, "
        f"{len(span.ids)} tokens"
    )


def _rendered(span: Span, template: Template, tokens: int, colours: bool) -> Text:
    """A segment's tokens, its middle left out where it is longer than `tokens`."""
    from rich.text import Text

    from bvrank.data.spans import pieces

    scored, cut = bool(span.branches), len(span.ids) - tokens
    head = span.ids if cut <= 0 else span.ids[: tokens - tokens // 2]
    line = Text()
    if scored and not colours:
        line.append("[[")
    _append(line, pieces(head, template), scored, colours)
    if cut > 0:
        line.append(f"\n ... {cut:,} tokens ...\n", style="italic")
        _append(line, pieces(span.ids[len(span.ids) - tokens // 2 :], template), scored, colours)
    if scored and not colours:
        line.append("]]")
    return line


def _append(line: Text, found: Iterator[Piece], scored: bool, colours: bool) -> None:
    for number, piece in enumerate(found):
        if number and scored and not colours:
            line.append("|")
        style = SHADES[number % 2] if scored else "dim"
        line.append(piece.text, style=f"{style} reverse" if piece.special else style)


def _lengths(found: Found) -> Table:
    import numpy as np
    from rich.table import Table

    table = Table(title="tokens", title_justify="left")
    for name in ("", *(f"{q} %" if q < 100 else "most" for q in QUANTILES)):
        table.add_column(name, justify="right")
    for name, values in _measures(found):
        if values:
            table.add_row(name, *(f"{v:,.0f}" for v in np.percentile(values, QUANTILES)))
    return table


def _measures(found: Found) -> Iterator[tuple[str, Sequence[int]]]:
    yield "whole tree", [sum(len(s.ids) for s in row.segments) for row in found.kept]
    yield "longest path", [row.longest for row in found.kept]
    for view in found.views:
        yield (
            f"scored, {view}",
            [
                sum(len(row.segments[s].ids) for s in branch.segments)
                for row in found.kept
                for branch in row.branches
                if branch.view == view
            ],
        )


def _reasons(found: Found) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="refused", title_justify="left")
    for name in ("reason", "rows", "first", "why"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    first = {r.reason: r for r in reversed(found.refused)}
    for reason, count in Counter(r.reason for r in found.refused).most_common():
        told = (reason, f"{count:,}", first[reason].where, first[reason].detail)
        table.add_row(*(Text(t) for t in told))
    return table
