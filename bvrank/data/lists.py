"""Ranked lists: a prompt, some candidates and a graded relevance for each. Lists may be ragged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from bvrank.data.encoding import Listing
from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.data.turns import as_prompt, messages, shown, text
from bvrank.errors import ConfigError, DataError, did_you_mean
from bvrank.records import Candidate, Example, Message, Refused

PEEK = 100  # rows whose columns decide whether a file holds lists
LARGEST = 100.0  # relevance; gains are 2^relevance - 1, which must stay finite


@dataclass(frozen=True)
class Lists:
    """A source of rows {prompt, candidates, relevance[, rank]}.

    relevance: one number >= 0 per candidate, larger is better; lists whose values are all equal
    are kept, as some objectives learn from them. rank: the position, from 1, in which each
    candidate was shown; without it `(seed, row)` draws an order.
    context, separator, end_token: see bvrank.data.encoding.Listing.
    """

    path: str
    split: str | None = None
    context: Literal["independent", "inlist"] = "independent"
    separator: str | None = None
    end_token: bool | None = None
    prompt_column: str = "prompt"
    candidates_column: str = "candidates"
    relevance_column: str = "relevance"
    rank_column: str = "rank"
    system: str | None = None

    def __post_init__(self) -> None:
        _ = self.listing  # refuses settings that do not go together
        if self.system is not None and not self.system.strip():
            raise ConfigError("must not be blank", where="system", repair="Leave it out.")

    @property
    def listing(self) -> Listing:
        """How the candidates of a row stand to each other."""
        return Listing(self.context, self.separator, self.end_token)

    def rows(self) -> Iterator[Example | Refused]:
        """Examples and refused rows in file order. DataError when a column is missing."""
        seen = {k for _, row in islice(read_rows(self.path, self.split), PEEK) for k in row}
        self._check_columns(seen)
        for where, row in read_rows(self.path, self.split):
            try:
                yield self.example(where, row)
            except Unfit as error:
                yield error.refused(where)

    def held(self, path: str) -> Lists:
        """The source of a held-out file of the same form."""
        return replace(self, path=path, split=None)

    def _check_columns(self, seen: set[str]) -> None:
        needed = [self.prompt_column, self.candidates_column, self.relevance_column]
        if self.rank_column != "rank":
            needed.append(self.rank_column)
        for name in needed:
            if name not in seen:
                raise DataError(
                    f"has no column '{name}'; its columns are: {', '.join(sorted(seen))}",
                    where=self.path,
                    repair=f"{did_you_mean(name, seen)} A row of a list file is {{prompt, "
                    "candidates, relevance[, rank]}; `bvrank convert` makes one.",
                )

    def example(self, where: str, row: Mapping[str, Any]) -> Example:
        """The example of one row. Raises Unfit."""
        items = self._candidates(row)
        relevance = self._relevance(row, len(items))
        return Example(
            where,
            self._prompt(row),
            tuple(
                Candidate(item, relevance=gain, answer_id=i)
                for i, (item, gain) in enumerate(zip(items, relevance, strict=True))
            ),
            self._shown(row, len(items)),
        )

    def _prompt(self, row: Mapping[str, Any]) -> tuple[Message, ...]:
        value = row.get(self.prompt_column)
        if value == "":
            raise Unfit("empty_prompt", f"'{self.prompt_column}' is empty")
        found = as_prompt(messages(value, self.prompt_column), self.prompt_column)
        return found if self.system is None else (Message("system", self.system), *found)

    def _candidates(self, row: Mapping[str, Any]) -> list[str]:
        name = self.candidates_column
        items = [text(v, f"{name}[{i}]") for i, v in enumerate(_listed(row.get(name), name))]
        for i, item in enumerate(items):
            if not item.strip():
                raise Unfit("empty_candidate", f"'{name}[{i}]' is empty")
        if len(items) < 2:
            raise Unfit("too_few", f"'{name}' holds {len(items)}, and a list needs two")
        if len(set(items)) < len(items):
            twice = next(v for v in items if items.count(v) > 1)
            raise Unfit("duplicates", f"'{name}' holds {shown(twice)} twice")
        return items

    def _relevance(self, row: Mapping[str, Any], count: int) -> list[float]:
        name = self.relevance_column
        values = _listed(row.get(name), name)
        _check_count(values, count, name, "relevance_length")
        return [_gain(v, f"{name}[{i}]") for i, v in enumerate(values)]

    def _shown(self, row: Mapping[str, Any], count: int) -> tuple[int, ...] | None:
        name = self.rank_column
        if row.get(name) is None:
            return None
        values = _listed(row[name], name)
        _check_count(values, count, name, "rank_length")
        ranks = [
            int(v) if _is_number(v) and math.isfinite(v) and v == int(v) else 0 for v in values
        ]
        if sorted(ranks) != list(range(1, count + 1)):
            raise Unfit("bad_rank", f"'{name}' is no permutation of 1 to {count}")
        return tuple(ranks)


def _listed(value: Any, name: str) -> list[Any]:
    """A list, or JSON text of one: that is how a csv cell holds it."""
    if value is None:
        raise Unfit("missing", f"'{name}' is missing")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unfit("wrong_type", f"'{name}' is no JSON list") from error
    if not isinstance(value, list):
        raise Unfit("wrong_type", f"'{name}' is {shown(str(value))}, not a list")
    return value


def _check_count(values: list[Any], count: int, name: str, reason: str) -> None:
    if len(values) != count:
        raise Unfit(
            reason,
            f"'{name}' has {len(values)} values for {count} candidates; every one needs its own",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _gain(value: Any, name: str) -> float:
    """A relevance. true and false, as labels often are, count 1 and 0."""
    if isinstance(value, bool):
        return float(value)
    if not _is_number(value):
        raise Unfit("wrong_type", f"'{name}' is {shown(str(value))}, not a number")
    if not 0 <= value <= LARGEST:  # NaN fails this too
        raise Unfit("relevance_range", f"'{name}' is {value}, not within 0 to {LARGEST:g}")
    return float(value)
