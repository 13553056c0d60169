"""Responses that somebody sampled before, out of a file: the node of sampler=recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bvrank.answers import Response, split
from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.data.turns import text
from bvrank.errors import ConfigError, DataError
from bvrank.records import Message, Mode
from bvrank.sampling.local import Work
from bvrank.sampling.prompts import File
from bvrank.sampling.responses import Made

PART = 100
# Tokens that end a turn, of the usual templates: a file of raw completions has one behind each.
ENDINGS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>",
           "<\uff5cend\u2581of\u2581sentence\uff5c>", "</s>")  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """Rows of a prompt and a completion; a prompt may have any number of rows.

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

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError("needs the file of prompts and responses", where="path",
                              repair="Write prompts=file prompts.path=...")  # fmt: skip

    def generator(self, policy: Any) -> Recorded:
        """Itself: there is nothing to load."""
        return self

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """The first `n` responses to each prompt, in file order; the first rank reads them.
        DataError for a row that holds none."""
        if mode != self.mode or rank:
            return
        assert self.path is not None
        prompts = File(self.path, self.split, self.prompt_column, system=self.system)
        rows: dict[tuple[Message, ...], int] = {p.messages: p.row for p in work.prompts}
        found: Counter[int] = Counter()
        part: list[Made] = []
        for where, row in read_rows(self.path, self.split):
            try:
                number = rows.get(prompts.turns(row))
            except Unfit:
                continue  # refused as a prompt already
            if number is None or found[number] == work.n:
                continue
            part.append(self._made(where, row, number, found[number]))
            found[number] += 1
            if len(part) == PART:
                yield part
                part = []
        yield part

    def _made(self, where: str, row: Mapping[str, Any], number: int, copy: int) -> Made:
        response = self._response(where, row)
        ended = response.closed and response.answer is not None
        if self.finished_column is not None:
            said = _truth(self._value(where, row, "finished_column"))
            if said is None:
                raise DataError(f"'{self.finished_column}' is neither true nor false", where=where,
                                repair="Name a column of true and false, or none, with "
                                "sampler.finished_column=...")  # fmt: skip
            ended = said
        score = None
        if self.score_column is not None:
            score = _number(self._value(where, row, "score_column"), self.score_column, where)
        return Made(self.mode, number, copy, response.trace, response.answer, response.closed,
                    "stop" if ended else "length", score=score)  # fmt: skip

    def _response(self, where: str, row: Mapping[str, Any]) -> Response:
        value = self._value(where, row, "completion_column")
        try:
            if isinstance(value, Mapping) and {"think", "answer"} <= set(value):
                think = None if value["think"] is None else text(value["think"], "think")
                return Response(think, _ended(text(value["answer"], "answer")), True)
            return split(_ended(text(value, self.completion_column)), opened=self.opened)
        except Unfit as error:
            raise DataError(error.detail, where=where, repair="Repair that row.") from error

    def _value(self, where: str, row: Mapping[str, Any], key: str) -> Any:
        """What stands in the column that the field `key` names."""
        column = getattr(self, key)
        if column not in row:
            raise DataError(f"has no '{column}'; its columns are {', '.join(row)}", where=where,
                            repair=f"Name the right one with sampler.{key}=...")  # fmt: skip
        return row[column]


def _ended(completion: str) -> str:
    """The completion without the token that ended it."""
    body = completion.rstrip()
    ending = next((e for e in ENDINGS if body.endswith(e)), None)
    return completion if ending is None else body.removesuffix(ending)


def _number(value: Any, column: str, where: str) -> float | None:
    """A score, also as the text that tables have for it; None where there is none."""
    if value is None or str(value).strip() == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"'{column}' is no number but {str(value)[:40]!r}", where=where,
                        repair="Give a finite number, or leave it empty: no score.")  # fmt: skip
    return number


def _truth(value: Any) -> bool | None:
    """A truth value, also as the text or number that tables have for it; None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
