"""Checks of the data as the model will see it: rendered, tokenised, split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bvrank.commands import assemble, bias
from bvrank.commands.assemble import Half, Rows
from bvrank.commands.diagnosis import Check
from bvrank.commands.loading import material_of
from bvrank.commands.measuring import wanted
from bvrank.commands.probing import drawing_of
from bvrank.data import checks
from bvrank.data.arithmetic import Demonstrations
from bvrank.data.checks import Rendered, rendered
from bvrank.data.encoding import AT_ONCE, encode
from bvrank.data.flaws import Finding, Flaw, findings
from bvrank.data.gaps import Lengths, lengths
from bvrank.data.mix import worlds
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, DataError, ModelError
from bvrank.records import Example
from bvrank.tracking.progress import phase

if TYPE_CHECKING:
    from bvrank.commands.train import Request

AREA = "data"
MANY = 5000  # examples from which on rendering shows how far it is
STAND_INS = 200  # worked problems that the template is tried on where no pairs exist yet


@dataclass(frozen=True)
class Seen:
    """Rows as they would train and be held out, every candidate of those as rendered, and how
    long the sides of the pairs that train are."""

    asked: Request
    template: Template
    train: Half
    held: Half
    rendered: list[Rendered]
    lengths: dict[tuple[str, str], list[Lengths]]

    @property
    def trained(self) -> list[Example]:
        """The examples that train."""
        return _kept(self.train)

    @property
    def held_out(self) -> list[Example]:
        """The examples that are held out."""
        return _kept(self.held)


def check_data(asked: Request, tokenizer: Any, skeleton: Any) -> list[Check]:
    """Every check of rows; the template's alone where the rows are made by training."""
    try:
        template = asked.settings.template.template(tokenizer)
    except ModelError as error:
        broken = Finding("template", "unusable", "problem", error.what, error.repair)
        return [Check(AREA, "template", f"of {error.where}", (broken,))]
    if any(world.path is None for world in worlds(asked.source)):
        return _own_pairs(asked, template)
    seen = _seen(asked, template)
    found = [*findings(_flaws(seen)), *_stops(seen, skeleton), *_gaps(seen)]
    found = [_stopping(f) if asked.intake.overlong == "error" else f for f in found]
    lines = _lines(seen)
    extra = [f.check for f in found if f.check not in lines]
    told = lines | dict.fromkeys(extra, "")
    return [_check(name, text, found) for name, text in told.items()]


def _seen(asked: Request, template: Template) -> Seen:
    intake = asked.intake
    if intake.overlong == "error":
        intake = replace(intake, overlong="drop")  # to count them all
    material = replace(material_of(asked, asked.source, template), intake=intake)
    train, held = assemble.halves(material, asked.schedule)
    kept = [*_kept(train), *_kept(held)]
    sizes = {
        (view, part): pairs
        for (view, part), pairs in lengths(_kept(train), template).items()
        if view in asked.views
    }
    return Seen(asked, template, train, held, _read(kept, asked.views, template), sizes)


def _kept(half: Half) -> list[Example]:
    where = {row.where for row in half.kept}
    return [row for row in half.examples if isinstance(row, Example) and row.where in where]


def _read(examples: Sequence[Example], views: Sequence[str], template: Template) -> list[Rendered]:
    """The candidates of views that the objective reads; what takes long shows how far it is."""
    found: list[Rendered] = []
    many = phase("rendering", len(examples)) if len(examples) > MANY else nullcontext()
    with many as shown:
        for start in range(0, len(examples), AT_ONCE):
            part = examples[start : start + AT_ONCE]
            found += (r for r in rendered(part, template) if r.candidate.view in views)
            if shown is not None:
                shown.advance(len(part))
    return found


def _flaws(seen: Seen) -> Iterator[Flaw]:
    yield from seen.train.refused
    yield from seen.held.refused
    yield from _rendering(seen.rendered, seen.template)
    if seen.asked.intake.overlong == "truncate_trace_middle":
        kept = (*seen.trained, *seen.held_out)
        yield from checks.cut_traces(kept, seen.rendered, seen.asked.intake.max_length)
    yield from checks.flat_lists(seen.trained)
    yield from checks.repeated(seen.trained)
    yield from checks.near_leaks(seen.trained, seen.held_out)


def _rendering(rows: Sequence[Rendered], template: Template) -> Iterator[Flaw]:
    yield from checks.missing_bos(rows, template)
    yield from checks.boundary_shifts(rows)
    yield from checks.think_blocks(rows)


def _stops(seen: Seen, skeleton: Any) -> Iterator[Finding]:
    """What a run would stop over before its first step."""
    asked = seen.asked
    halves = [(seen.train, asked.where)]
    if seen.held.found:
        halves.append((seen.held, f"{asked.where} (held out)"))
    for half, where in halves:
        try:
            assemble.check_half(half, asked.intake, asked.schedule, where)
        except DataError as error:
            yield Finding("rows", "would_stop", "problem", f"a run would stop: {error.what}",
                          error.repair)  # fmt: skip
    if not seen.train.kept:
        return
    yield from _measured(seen)
    if skeleton is None:
        return
    try:
        assemble.check_positions(Rows(seen.train.kept, seen.held.kept, [], False), skeleton)
    except DataError as error:
        yield Finding("length", "positions", "problem",
                      f"a run would stop: {error.where}: {error.what}", error.repair)  # fmt: skip


def _measured(seen: Seen) -> Iterator[Finding]:
    """Rows that alpha=auto or a measurement of gradients wants, and that are not there."""
    asked, rows = seen.asked, seen.train.kept
    if not wanted(asked.settings, asked.objective):
        return
    apart = getattr(asked.source, "pairing", None) == "independent" and len(asked.views) > 1
    try:
        drawing_of(rows, np.arange(len(rows)), asked.settings, asked.objective, asked.views,
                   independent=apart)  # fmt: skip
    except ConfigError as error:
        yield Finding("rows", "would_stop", "problem",
                      f"a run would stop: {error.where}: {error.what}", error.repair)  # fmt: skip


def _stopping(found: Finding) -> Finding:
    """A row that is too long stops a run with data.overlong=error."""
    if found.name != "too_long":
        return found
    what = "over data.max_length, and data.overlong=error: a run would stop"
    return replace(found, level="problem", what=what)


def _gaps(seen: Seen) -> Iterator[Finding]:
    for (view, part), pairs in seen.lengths.items():
        if found := bias.finding(view, part, pairs):
            yield found


def _lines(seen: Seen) -> dict[str, str]:
    """What each check tells when it found nothing."""
    held = f", {len(seen.held.kept):,} held out" if seen.held.found else ""
    lines = {"rows": f"{len(seen.train.kept):,} train{held}"}
    if getattr(seen.asked.source, "listing", None) is not None:
        lines["lists"] = "each has something to prefer"
    most = max((row.longest for row in (*seen.train.kept, *seen.held.kept)), default=0)
    lines |= _template_lines(seen.template, len(seen.train.kept) + len(seen.held.kept))
    lines["length"] = f"at most {most:,} of {seen.asked.intake.max_length:,} tokens"
    lines["sides"] = "no two are equal, none is empty"
    lines["duplicates"] = "no row stands twice"
    lines["leakage"] = (
        f"no prompt of {len(seen.held.kept):,} held-out rows stands in train"
        if seen.held.found
        else "nothing is held out"
    )
    if told := _length_line(seen):
        lines["lengths"] = told
    return lines


def _template_lines(template: Template, rows: int) -> dict[str, str]:
    bos = "each prompt begins with one BOS" if template.adds_bos else "this tokenizer adds none"
    return {
        "template": f"trace and answer come back out of the ids (rows: {rows:,})",
        "bos": bos,
        "boundary": "prompt and response share no token",
        "thinking": "each block is opened and closed once",
    }


def _length_line(seen: Seen) -> str:
    """Chosen less rejected, part by part."""
    parts = [
        f"{view} {part} {bias.told(bias.gap(pairs))} (n {len(pairs):,})"
        for (view, part), pairs in seen.lengths.items()
    ]
    return f"chosen less rejected, tokens: {', '.join(parts)}" if parts else ""


def _check(name: str, told: str, found: Sequence[Finding]) -> Check:
    """`told` where nothing was found, else a count of what was."""
    mine = tuple(f for f in found if f.check == name)
    if mine and name not in ("rows", "lengths"):
        told = ", ".join(f"{f.name} {f.count:,}" for f in mine)
    elif mine and name == "rows":
        told = ", ".join([told, *(f"{f.name} {f.count:,}" for f in mine if f.rows)])
    return Check(AREA, name, told, mine)


def _own_pairs(asked: Request, template: Template) -> list[Check]:
    """The template on worked problems: the pairs are the policy's own samples, made later."""
    rows = list(Demonstrations(STAND_INS, asked.settings.seed, 0.5).rows())
    examples = [row for row in rows if isinstance(row, Example)]
    _, refused = encode(examples, template, views=("full",), max_length=asked.intake.max_length)
    candidates = list(rendered(examples, template))
    found = findings(chain(refused, _rendering(candidates, template)))
    told = _template_lines(template, len(examples))
    later = (
        "the policy samples them when training starts: nothing to check yet; afterwards look at "
        f"{asked.store / 'pairs'}"
    )
    return [
        *(_check(name, text, found) for name, text in told.items()),
        Check(AREA, "pairs", later),
    ]
