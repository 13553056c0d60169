"""Where prompts come from: a file of any usual form, or the arithmetic world."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import accumulate, islice
from typing import Any, Literal

from bvrank.data.arithmetic import problems
from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.data.turns import as_prompt, messages
from bvrank.errors import ConfigError, DataError, did_you_mean
from bvrank.records import Message, Refused
from bvrank.sampling.responses import Prompt

COLUMNS = ("prompt", "instruction", "question", "problem", "messages", "conversations")
PEEK = 100
TWICE = "duplicate_prompt"
_CHATML = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)(?:<\|im_end\|>\n?|\Z)", re.S)


@dataclass(frozen=True)
class File:
    """Prompts of a file, a folder of `datasets` or a hub id.

    column: text or messages (a last answer is left off); None takes the first there is of prompt,
    instruction (with input, if any), question, problem, messages and conversations. gold_column:
    the known answer, for verifiers. system: a system prompt for rows that bring none. limit: the
    first so many prompts. A prompt that stands there twice counts once, the first time.
    """

    path: str
    split: str | None = None
    column: str | None = None
    gold_column: str | None = None
    system: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"must be at least 1, got {self.limit}", where="limit")

    def prompts(self) -> Iterator[Prompt | Refused]:
        """In file order; refused rows and repeated prompts among them: `duplicate_prompt`, or
        `conflicting_gold` where the known answer is another one."""
        seen: dict[tuple[Message, ...], Prompt] = {}
        for where, row in read_rows(self.path, self.split):
            try:
                turns = self.turns(row)
                gold = self._gold(row)
            except Unfit as error:
                yield error.refused(where)
                continue
            if turns in seen:
                yield _repeated(where, gold, seen[turns])
                continue
            seen[turns] = Prompt(len(seen), where, turns, gold)
            yield seen[turns]
            if len(seen) == self.limit:
                return

    @cached_property
    def _column(self) -> str:
        seen = {k for _, row in islice(read_rows(self.path, self.split), PEEK) for k in row}
        for name in filter(None, (self.column, self.gold_column)):
            if name not in seen:
                raise DataError(
                    f"has no column '{name}'; its columns are: {', '.join(sorted(seen))}",
                    where=self.path, repair=did_you_mean(name, seen),
                )  # fmt: skip
        found = self.column or next((c for c in COLUMNS if c in seen), None)
        if found is None:
            raise DataError(
                f"holds no prompts; its columns are: {', '.join(sorted(seen))}", where=self.path,
                repair=f"Name one with prompts.column=...; known are {', '.join(COLUMNS)}.",
            )  # fmt: skip
        return found

    def turns(self, row: Mapping[str, Any]) -> tuple[Message, ...]:
        """The conversation of a row of the file. Unfit where it holds none."""
        column = self._column
        value = row.get(column)
        if column == "instruction" and str(row.get("input") or "").strip():
            value = f"{value}\n{row['input']}"
        turns = rendered(value) if isinstance(value, str) else None
        turns = as_prompt(turns or messages(_asked(value), column), column)
        if self.system is not None and turns[0].role != "system":
            turns = (Message("system", self.system), *turns)
        return turns

    def _gold(self, row: Mapping[str, Any]) -> str | None:
        if self.gold_column is None:
            return None
        value = row.get(self.gold_column)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        nothing = isinstance(value, float) and not math.isfinite(value)  # a table's empty cell
        if value is None or nothing or isinstance(value, dict | list | bool):
            raise Unfit("no_gold", f"'{self.gold_column}' holds no answer")
        if not str(value).strip():
            raise Unfit("no_gold", f"'{self.gold_column}' is empty")
        return str(value)


@dataclass(frozen=True)
class Arithmetic:
    """Sums of five digits, of the train or the test split; their answers are gold."""

    problems: int = 900
    seed: int = 0
    split: Literal["train", "test"] = "train"

    def __post_init__(self) -> None:
        try:
            problems(self.problems, self.seed, self.split)
        except ValueError as error:
            raise ConfigError(str(error), where="problems") from None
        if self.problems < 1:
            raise ConfigError(f"must be at least 1, got {self.problems}", where="problems")

    def prompts(self) -> Iterator[Prompt | Refused]:
        """One for each problem."""
        for row, p in enumerate(problems(self.problems, self.seed, self.split)):
            yield Prompt(row, f"problem:{row + 1}", (Message("user", p.question),), p.answer)


def _repeated(where: str, gold: str | None, first: Prompt) -> Refused:
    """Why a prompt that was `first` before is refused."""
    if gold == first.gold or (gold and first.gold and _stated(gold) == _stated(first.gold)):
        return Refused(where, TWICE, f"stands in an earlier row, {first.where}")
    return Refused(
        where, "conflicting_gold", f"said before with another gold answer, {first.where}"
    )


def _stated(gold: str) -> Decimal | str:
    """The answer that a gold text gives: two solutions may come to one. Behind `####` on the last
    line, inside the last `\\boxed{}`, or all of it; a number by its value."""
    text = gold.strip()
    last = text.rpartition("\n")[2]
    if last.startswith("####"):
        text = last.lstrip("#")
    elif boxed := text.rpartition("\\boxed{")[2] if "\\boxed{" in text else "":
        depths = accumulate((c == "{") - (c == "}") for c in boxed)
        text = boxed[: next((i for i, depth in enumerate(depths) if depth < 0), None)]
    text = "".join(text.split()).strip("$")
    number = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return Decimal(number) if re.fullmatch(r"[-+]?\d*\.?\d+", number) else text


def rendered(text: str) -> tuple[Message, ...] | None:
    """The turns of a prompt that was written out in ChatML; None of any other text."""
    if not text.startswith("<|im_start|>"):
        return None
    turns = [Message(role, body) for role, body in _CHATML.findall(text)]
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return tuple(turns) or None


def _asked(value: Any) -> Any:
    """Messages without a last answer, which is not asked for."""
    if isinstance(value, list):
        turns = list(value)
        while turns and isinstance(turns[-1], Mapping) and (
            turns[-1].get("role") or turns[-1].get("from")
        ) in ("assistant", "gpt"):  # fmt: skip
            turns.pop()
        return turns
    return value
