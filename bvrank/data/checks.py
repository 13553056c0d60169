"""Checks of rows that a source and the encoding let through: what they would teach unnoticed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from bvrank.answers import CLOSE, OPEN
from bvrank.data.encoding import AT_ONCE
from bvrank.data.flaws import Flaw
from bvrank.data.refusals import Unfit
from bvrank.data.split import prompt_key
from bvrank.data.style import block_at_end
from bvrank.data.templates import Template
from bvrank.records import Candidate, Example, Mode

QUOTES = '"\u201c\u201d\u201e\u00ab\u00bb'
ENDS = ".,;:?"


@dataclass(frozen=True)
class Rendered:
    """A candidate as text and ids, apart and as one; `prompt` and `text` are the two texts."""

    where: str
    candidate: Candidate
    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    joint: tuple[int, ...]


def rendered(examples: Iterable[Example], template: Template) -> Iterator[Rendered]:
    """Every candidate that the template can render, with one tokenizer call for some rows."""
    rows = iter(examples)
    while chunk := list(islice(rows, AT_ONCE)):
        plans = [plan for example in chunk for plan in _texts(example, template)]
        wanted = dict.fromkeys(t for _, _, p, text in plans for t in (p, text, p + text))
        ids = dict(zip(wanted, map(tuple, template.ids(list(wanted))), strict=True))
        for where, candidate, prompt, text in plans:
            yield Rendered(
                where, candidate, prompt, text, ids[prompt], ids[text], ids[prompt + text]
            )


def _texts(example: Example, template: Template) -> Iterator[tuple[str, Candidate, str, str]]:
    prompts: dict[Mode, str] = {}
    for c in example.candidates:
        try:
            if c.mode not in prompts:
                prompts[c.mode] = template.prompt_text(example.prompt, c.mode)
            yield example.where, c, prompts[c.mode], template.completion_text(c)
        except Unfit:  # the encoding says so
            continue


def boundary_shifts(rows: Iterable[Rendered]) -> Iterator[Flaw]:
    """Candidates whose text and prompt, tokenised as one, give other ids than one by one."""
    for r in rows:
        if r.prompt_ids + r.ids != r.joint:
            yield Flaw(r.where, "boundary_shift", f"the response begins with {r.text[:8]!r}")


def missing_bos(rows: Iterable[Rendered], template: Template) -> Iterator[Flaw]:
    """Prompts without the BOS that the tokenizer puts in front of any text."""
    if not template.adds_bos:
        return
    bos = template.tokenizer.bos_token_id
    for r in rows:
        if r.prompt_ids[:1] != (bos,):
            yield Flaw(r.where, "missing_bos", f"it begins with {r.prompt[:16]!r}")


def think_blocks(rows: Iterable[Rendered]) -> Iterator[Flaw]:
    """Blocks that are not opened and closed exactly once, in what the model reads."""
    for r in rows:
        head = block_at_end(r.prompt)
        before = r.prompt.removesuffix(head)
        if before.count(OPEN) > before.count(CLOSE) or _bare_open(r, head):
            yield Flaw(r.where, "left_open", f"view {r.candidate.view}")
        if r.candidate.mode != "thinking":
            continue
        block = head + r.text
        if block.count(OPEN) > 1:
            yield Flaw(r.where, "opened_twice", f"view {r.candidate.view}")
        elif block.count(CLOSE) > 1:
            yield Flaw(r.where, "closed_twice", f"view {r.candidate.view}")


def _bare_open(row: Rendered, head: str) -> bool:
    """Whether an answer without thinking stands behind a block that is still open."""
    if row.candidate.mode == "thinking":
        return False
    return head.count(OPEN) > head.count(CLOSE) or (row.candidate.mode == "nothinking" and not head)


def cut_traces(examples: Iterable[Example], rows: Iterable[Rendered], most: int) -> Iterator[Flaw]:
    """Rows of more than `most` tokens, end token included, of which a trace gives way."""
    kept = {e.where for e in examples}
    for r in rows:
        tokens = len(r.prompt_ids) + len(r.ids) + 1
        if r.where in kept and tokens > most:
            yield Flaw(r.where, "trace_cut", f"{tokens:,} tokens")


def flat_lists(examples: Iterable[Example]) -> Iterator[Flaw]:
    """Rows of several candidates, none better than another, from which an objective learns."""
    for example in examples:
        for view in dict.fromkeys(c.view for c in example.candidates):
            gains = [c.relevance for c in example.candidates if c.view == view]
            if len(gains) > 1 and len(set(gains)) == 1:
                yield Flaw(example.where, "flat_relevance", f"{len(gains)} times {gains[0]:g}")


def repeated(examples: Iterable[Example]) -> Iterator[Flaw]:
    """Rows that stand twice, and preferences that another row states reversed; texts count as the
    same up to case and white space. A row that a mixture repeats is one row."""
    seen: dict[object, str] = {}
    reversed_in: dict[object, str] = {}
    for example in {(e.where, e.candidates): e for e in examples}.values():
        prompt = prompt_key(example)
        sides = sorted((c.view, c.relevance, *_plain(c)) for c in example.candidates)
        first = seen.setdefault((prompt, *sides), example.where)
        if first != example.where:
            yield Flaw(example.where, "duplicate", f"as {first}")
        for view, better, worse in _preferences(example):
            other = reversed_in.get((prompt, view, worse, better))
            if other is not None:
                yield Flaw(example.where, "contradiction", f"against {other}")
            reversed_in.setdefault((prompt, view, better, worse), example.where)


def _preferences(example: Example) -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
    """(view, better, worse) of each view that holds a pair."""
    for view in dict.fromkeys(c.view for c in example.candidates):
        both = sorted((c for c in example.candidates if c.view == view), key=lambda c: -c.relevance)
        if len(both) == 2 and both[0].relevance > both[1].relevance:
            yield view, _plain(both[0]), _plain(both[1])


def _plain(candidate: Candidate) -> tuple[str, str]:
    trace, answer = (
        " ".join((t or "").split()).casefold() for t in (candidate.trace, candidate.answer)
    )
    return trace, answer


def near_leaks(train: Sequence[Example], held: Sequence[Example]) -> Iterator[Flaw]:
    """Train rows whose prompt stands among the held-out ones but for punctuation and form."""
    exact = {prompt_key(example) for example in held}
    loose = {loose_key(example): example.where for example in held}
    for example in train:
        other = loose.get(loose_key(example))
        if other is not None and prompt_key(example) not in exact:
            yield Flaw(example.where, "near_leak", f"near {other}")


def loose_key(example: Example) -> str:
    """`prompt_key` without quotes, what ends a sentence, and Unicode's forms of one character.
    Signs, brackets and points inside a word stay: 3.5, -5 and 5! are numbers of their own."""
    words = unicodedata.normalize("NFKC", prompt_key(example)).split()
    bare = (w.translate(dict.fromkeys(map(ord, QUOTES))).rstrip(ENDS) for w in words)
    return " ".join(w for w in bare if w)
