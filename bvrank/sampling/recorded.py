"""Responses that somebody sampled before, out of a file: the node of sampler=recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar, Literal

from bvrank.answers import Response, split
from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.data.turns import text
from bvrank.errors import ConfigError, DataError
from bvrank.records import Message, Mode, Refused
from bvrank.sampling.local import Work
from bvrank.sampling.prompts import PEEK, File
from bvrank.sampling.responses import Block, Made, Prompt
from bvrank.sampling.signs import Signs, block_of

PART = 100
REASONS = ("no_completion", "no_end", "bad_score")  # why a row is no response
# Tokens that end a turn, of the usual templates: a file of raw completions has one behind each.
ENDINGS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>",
           "<\uff5cend\u2581of\u2581sentence\uff5c>", "</s>")  # fmt: skip


@dataclass
class Survey:
    """What a file of responses holds for some prompts, by the rows of these. `taken`: responses,
    `answers` those of them that can be scored, with so many `characters`; `beyond`: further ones of
    prompts that have as many as are wanted; `others`: rows that answer none of the prompts, or
    where only the first prompts are wanted (`limited`) can be of any further one."""

    taken: Counter[int] = field(default_factory=Counter)
    beyond: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    characters: int = 0
    others: int = 0
    limited: bool = False
    refused: list[Refused] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Rows that nothing is wrong with."""
        return self.taken.total() + self.beyond.total() + self.others

    @property
    def most(self) -> int:
        """Responses to the prompt that has most."""
        return max((n + self.beyond[row] for row, n in self.taken.items()), default=0)


@dataclass(frozen=True)
class Recorded:
    """Rows of a prompt and a completion; a prompt may have any number of rows, and where nobody
    says how many are wanted all of them are.

    prompt_column, system: as of the prompts. completion_column: a text, of which the one extractor
    makes trace and answer (a token behind it that ends a turn is left off), or {think, answer}.
    mode: in which all were sampled. opened: whether the prompts ended with an opened think block
    that the completions do not repeat. score_column: what reward=recorded gives them.
    finished_column: whether a response ended by itself; without one, it did where its thinking
    closed.
    """

    path: str | None
    split: str | None = None
    prompt_column: str | None = None
    system: str | None = None
    completion_column: str = "completion"
    mode: Literal["thinking", "nothinking"] = "thinking"
    opened: bool = False
    score_column: str | None = None
    finished_column: str | None = None
    needs_model = False
    strict: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError("needs the file of prompts and responses", where="path",
                              repair="Write prompts=file prompts.path=...")  # fmt: skip

    def generator(self, policy: Any) -> Recorded:
        """Itself: there is nothing to load."""
        return self

    def of(self, prompts: Any) -> bool:
        """Whether `prompts` are those of this very file, so that a prompt that comes again is
        another response to it."""
        own = (self.path, self.split, self.prompt_column, self.system)
        return isinstance(prompts, File) and own == (
            prompts.path, prompts.split, prompts.column, prompts.system
        )  # fmt: skip

    def survey(self, prompts: Sequence[Prompt], n: int | None, limited: bool = False) -> Survey:
        """What the file holds for these prompts, the first of it where it is `limited`; `n`
        responses to each are taken (None: all). DataError for a column that is not there,
        ConfigError where the responses show that `opened` is wrong."""
        found, signs = Survey(limited=limited), Signs()
        for item in self._items(prompts, n):
            if isinstance(item, Refused):
                if limited and item.reason not in REASONS:  # of no prompt: perhaps of a further one
                    found.others += 1
                    continue
                found.refused.append(item)
            elif isinstance(item, Made):
                found.taken[item.row] += 1
                signs.add(item.block, item.end == "stop")
                if item.closed and (item.answer or "").strip():
                    found.answers[item.row] += 1
                    found.characters += len(item.answer or "")
            elif item is None:
                found.others += 1
            else:
                found.beyond[item] += 1
        signs.check(1)
        return found

    def lenient(self) -> Recorded:
        """One that leaves rows out of which no response can be made: who asks for it has told of
        them (see `survey`)."""
        own = replace(self)
        object.__setattr__(own, "strict", False)
        return own

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """The first `n` responses to each prompt, in file order; the first rank reads them.
        DataError for a row that holds none, if not `lenient`."""
        if mode != self.mode or rank:
            return
        part: list[Made] = []
        for item in self._items(work.prompts, work.n):
            if isinstance(item, Refused) and item.reason in REASONS and self.strict:
                raise DataError(item.detail, where=item.where, repair="Repair that row.")
            if isinstance(item, Made):
                part.append(item)
            if len(part) == PART:
                yield part
                part = []
        yield part

    def _items(self, prompts: Sequence[Prompt], n: int | None
               ) -> Iterator[Made | Refused | int | None]:  # fmt: skip
        """What each row is: a response, one that cannot be read, the place of a prompt that has `n`
        already, or None where it answers none of them."""
        assert self.path is not None
        self._check_columns(self.path)
        file = File(self.path, self.split, self.prompt_column, system=self.system)
        places: dict[tuple[Message, ...], int] = {p.messages: p.row for p in prompts}
        found: Counter[int] = Counter()
        for where, row in read_rows(self.path, self.split):
            try:
                number = places.get(file.turns(row))
                if number is None or found[number] == n:
                    yield number
                    continue
                yield self._made(row, number, found[number])
                found[number] += 1
            except Unfit as error:
                yield error.refused(where)

    def _check_columns(self, path: str) -> None:
        """DataError for a column that none of the first rows has."""
        seen = {k: k for _, row in islice(read_rows(path, self.split), PEEK) for k in row}
        for key in ("completion_column", "finished_column", "score_column"):
            column = getattr(self, key)
            if seen and column is not None and column not in seen:
                raise DataError(
                    f"has no '{column}'; its columns are {', '.join(seen)}", where=path,
                    repair=f"Name the right one with sampler.{key}=...",
                )  # fmt: skip

    def _made(self, row: Mapping[str, Any], number: int, copy: int) -> Made:
        """The response of a row. Unfit where it holds none."""
        response, block = self._response(row.get(self.completion_column))
        ended = response.closed and response.answer is not None
        if self.finished_column is not None:
            said = _truth(row.get(self.finished_column))
            if said is None:
                raise Unfit("no_end", f"'{self.finished_column}' is neither true nor false")
            ended = said
        score = None
        if self.score_column is not None:
            score = _number(row.get(self.score_column), self.score_column)
        return Made(self.mode, number, copy, response.trace, response.answer, response.closed,
                    "stop" if ended else "length", score=score, block=block)  # fmt: skip

    def _response(self, value: Any) -> tuple[Response, Block | None]:
        try:
            if isinstance(value, Mapping) and {"think", "answer"} <= set(value):
                think = None if value["think"] is None else text(value["think"], "think")
                return Response(think, _ended(text(value["answer"], "answer")), True), None
            whole = _ended(text(value, self.completion_column))
        except Unfit as error:
            raise Unfit("no_completion", error.detail) from error
        asked = self.mode == "thinking" and not self.opened
        return split(whole, opened=self.opened), block_of(whole) if asked else None


def _ended(completion: str) -> str:
    """The completion without the token that ended it."""
    body = completion.rstrip()
    ending = next((e for e in ENDINGS if body.endswith(e)), None)
    return completion if ending is None else body.removesuffix(ending)


def _number(value: Any, column: str) -> float | None:
    """A score, also as the text that tables have for it; None where there is none. Unfit for any
    other value."""
    if value is None or str(value).strip() == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Unfit("bad_score", f"'{column}' is no number but {str(value)[:40]!r}")
    return number


def _truth(value: Any) -> bool | None:
    """A truth value, also as the text or number that tables have for it; None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
