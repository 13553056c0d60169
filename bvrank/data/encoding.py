"""Examples to token trees: one function for every objective."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Literal

from bvrank.answers import Response
from bvrank.data.refusals import UNUSED, Unfit
from bvrank.data.templates import Template
from bvrank.data.trees import Ids, Leaf, chains, tree
from bvrank.errors import ConfigError, DataError
from bvrank.records import Candidate, Encoded, Example, Mode, Refused

Overlong = Literal["drop", "error", "truncate_trace_middle"]
OVERLONG = ("drop", "error", "truncate_trace_middle")
AT_ONCE = 256  # examples per tokenizer call


@dataclass(frozen=True)
class Listing:
    """How the candidates of one example stand to each other.

    independent: each alone behind the prompt, and its end token scored with it unless `end_token`
    is False. inlist: all in one chain, `separator` (", " when None) between them as context.
    """

    context: Literal["independent", "inlist"] = "independent"
    separator: str | None = None
    end_token: bool | None = None

    def __post_init__(self) -> None:
        if self.context not in ("independent", "inlist"):
            raise ConfigError(f"is independent or inlist, not {self.context!r}", where="context")
        if self.context == "independent" and self.separator is not None:
            raise ConfigError(
                "stands between items of one list, but they are scored apart",
                where="separator",
                repair="Set context=inlist, or leave the separator out.",
            )
        if self.context == "inlist" and self.end_token:
            raise ConfigError(
                "ends an item scored alone, but inside a list the separator does",
                where="end_token",
                repair="Set context=independent, or leave end_token out.",
            )
        if self.separator == "":
            raise ConfigError("must not be empty", where="separator", repair='Try ", ".')


def encode(
    examples: Iterable[Example | Refused],
    template: Template,
    *,
    views: Sequence[str],
    max_length: int,
    overlong: Overlong = "drop",
    listing: Listing | None = None,
    seed: int = 0,
) -> tuple[list[Encoded], list[Refused]]:
    """Token trees of `views` (the objective's), and what could not become one; order is kept.

    Rows that come in refused go out refused. A view that fails is refused alone when another is
    left; a row with none of `views` is refused as UNUSED. `max_length` bounds a root-to-leaf path
    in tokens: a longer view is dropped, raises DataError, or has the middle of its traces cut out.
    `seed` and the row's address fix the order of a list that brings none.
    """
    encoder = Encoder(template, tuple(views), max_length, overlong, listing or Listing(), seed)
    kept: list[Encoded] = []
    refused: list[Refused] = []
    rows = iter(examples)
    while chunk := list(islice(rows, AT_ONCE)):
        for item in encoder.chunk(chunk):
            if isinstance(item, Encoded):
                kept.append(item)
            else:
                refused.append(item)
    return kept, refused


@dataclass(frozen=True)
class Encoder:
    """What `encode` does, a chunk at a time. ConfigError for a setting out of range."""

    template: Template
    views: tuple[str, ...]
    max_length: int
    overlong: Overlong
    listing: Listing
    seed: int

    def __post_init__(self) -> None:
        if self.overlong not in OVERLONG:
            told = f"is one of {', '.join(OVERLONG)}, not {self.overlong!r}"
            raise ConfigError(told, where="overlong")
        if self.max_length < 2:
            told = f"must be at least 2 tokens, got {self.max_length}"
            raise ConfigError(told, where="max_length")

    def chunk(self, rows: Sequence[Example | Refused]) -> Iterator[Encoded | Refused]:
        """Encodes some rows with one tokenizer call for all of their texts."""
        plans = [list(self._plan(r)) if isinstance(r, Example) else [r] for r in rows]
        groups = [p for plan in plans for p in plan if not isinstance(p, Refused)]
        texts = dict.fromkeys(
            t for g in groups for leaf in g for t in (leaf.prompt_text, leaf.text)
        )
        ids = dict(zip(texts, map(tuple, self.template.ids(list(texts))), strict=True))
        for row, plan in zip(rows, plans, strict=True):
            yield from (p for p in plan if isinstance(p, Refused))
            if isinstance(row, Example):
                found = [p for p in plan if not isinstance(p, Refused)]
                yield from self._finish(row, found, ids)

    def _plan(self, example: Example) -> Iterator[list[Leaf] | Refused]:
        """The texts of each view, or its refusal."""
        wanted = [v for v in self.views if any(c.view == v for c in example.candidates)]
        if not wanted:
            yield Refused(example.where, UNUSED, f"has no view {' or '.join(self.views)}")
        prompts: dict[Mode, str] = {}  # one rendering for all candidates of a mode
        for view in wanted:
            chosen = [(i, c) for i, c in enumerate(example.candidates) if c.view == view]
            ranks = self._ranks(example, [i for i, _ in chosen], view)
            try:
                yield [
                    self._leaf(example, c, rank, prompts)
                    for (_, c), rank in zip(chosen, ranks, strict=True)
                ]
            except Unfit as error:
                yield Refused(example.where, error.reason, f"view {view}: {error.detail}")

    def _leaf(self, example: Example, candidate: Candidate, rank: int, prompts: dict[Mode, str]
              ) -> Leaf:  # fmt: skip
        mode = candidate.mode
        if mode not in prompts:
            prompts[mode] = self.template.prompt_text(example.prompt, mode)
        return Leaf(candidate, prompts[mode], self.template.completion_text(candidate), rank)

    def _ranks(self, example: Example, rows: Sequence[int], view: str) -> list[int]:
        """1-based positions within the view: as shown, else a permutation of (seed, row)."""
        if example.shown is not None:
            shown = [example.shown[i] for i in rows]
            return [sorted(shown).index(s) + 1 for s in shown]
        key = blake2b(f"{self.seed}|{view}|{example.where}".encode(), digest_size=8).digest()
        ranks = list(range(1, len(rows) + 1))
        random.Random(int.from_bytes(key, "big")).shuffle(ranks)
        return ranks

    def _finish(
        self, example: Example, groups: list[list[Leaf]], ids: dict[str, Ids]
    ) -> Iterator[Encoded | Refused]:
        """Checks each view's ids; grows a tree of the views that pass."""
        leaves: list[Leaf] = []
        for group in groups:
            filled = [
                replace(leaf, prompt=ids[leaf.prompt_text], ids=ids[leaf.text]) for leaf in group
            ]
            try:
                leaves += self._fitting(filled, example.where)
            except Unfit as error:
                view = group[0].candidate.view
                yield Refused(example.where, error.reason, f"view {view}: {error.detail}")
        if leaves and self.listing.context == "inlist":
            yield chains(example.where, leaves, self._separator)
        elif leaves:
            yield tree(example.where, [replace(leaf, ids=self._ended(leaf)) for leaf in leaves])

    @property
    def _separator(self) -> Ids:
        text = ", " if self.listing.separator is None else self.listing.separator
        return tuple(self.template.ids([text])[0])

    def _ended(self, leaf: Leaf) -> Ids:
        return leaf.ids if self.listing.end_token is False else (*leaf.ids, self.template.end_id)

    def _fitting(self, group: list[Leaf], where: str) -> list[Leaf]:
        """The leaves of a view, cut where asked for. Raises Unfit, or DataError for `error`."""
        if self.listing.context == "inlist":
            if len({leaf.prompt for leaf in group}) > 1:
                raise Unfit("mixed_modes", "the items of one list are rendered in several modes")
            joined = sum(len(x.ids) for x in group) + len(self._separator) * (len(group) - 1)
            self._check_length(len(group[0].prompt) + joined, where)
        else:
            group = [self._short_enough(leaf, where) for leaf in group]
        for leaf in group:
            self._check_ids(leaf)
        meant: dict[tuple[Ids, Ids], tuple[int, float]] = {}
        for leaf in group:  # one trace drawn twice is no defect: both count
            c = leaf.candidate
            own = (c.answer_id, c.relevance)
            if meant.setdefault((leaf.prompt, leaf.ids), own) != own:
                raise Unfit("equal_tokens", "two candidates are the same token ids")
        return group

    def _check_length(self, tokens: int, where: str) -> None:
        if tokens <= self.max_length:
            return
        what = f"{tokens:,} tokens, over the max_length of {self.max_length:,}"
        if self.overlong == "error":
            raise DataError(
                what, where=where, repair="Raise data.max_length, or set data.overlong=drop."
            )
        raise Unfit("too_long", what)

    def _short_enough(self, leaf: Leaf, where: str) -> Leaf:
        while self._length(leaf) > self.max_length and self.overlong == "truncate_trace_middle":
            if not leaf.candidate.trace or leaf.candidate.mode != "thinking":
                break
            leaf = self._cut(leaf)
        self._check_length(self._length(leaf), where)
        return leaf

    def _length(self, leaf: Leaf) -> int:
        return len(leaf.prompt) + len(self._ended(leaf))

    def _cut(self, leaf: Leaf) -> Leaf:
        """The leaf with a shorter trace: first by the share that is too much, then bit by bit."""
        trace = leaf.candidate.trace or ""
        share = 1 - (self._length(leaf) - self.max_length) / len(leaf.ids)
        keep = max(0, min(int(len(trace) * share), len(trace) - 1))
        trace = trace[: (keep + 1) // 2] + trace[len(trace) - keep // 2 :]
        candidate = replace(leaf.candidate, trace=trace)
        text = self.template.completion_text(candidate)
        return replace(
            leaf, candidate=candidate, text=text, ids=tuple(self.template.ids([text])[0])
        )

    def _check_ids(self, leaf: Leaf) -> None:
        """Trace and answer must come back out of the ids, the prompt begin with one BOS at most."""
        if not leaf.ids:
            raise Unfit("empty_answer", "a candidate has no tokens")
        if self.template.twice_bos(leaf.prompt):
            raise Unfit("double_bos", "the prompt begins with two BOS tokens")
        text = self.template.decode([leaf.ids])[0]
        told = self.template.response(text, leaf.candidate.mode)
        if _normal(told) != _normal(_expected(leaf.candidate)):
            raise Unfit("round_trip", "trace and answer do not come back out of the token ids")


def _expected(candidate: Candidate) -> Response:
    trace = (candidate.trace or "") if candidate.mode == "thinking" else None
    return Response(trace, candidate.answer, True)


def _normal(response: Response) -> tuple[str | None, str | None, bool]:
    """Up to NFC: some tokenizers (Qwen) normalise Unicode themselves, which loses nothing."""
    trace, answer = (
        None if t is None else unicodedata.normalize("NFC", t)
        for t in (response.trace, response.answer)
    )
    return trace, answer, response.closed
