"""The official files of AlpacaEval, read and written.

    model_outputs.json   [{dataset, instruction, output, generator}]
    annotations.json     [{instruction, output_1, generator_1, dataset, output_2, generator_2,
                           annotator, preference}]

To annotations that are written here, `index` is added: where the instruction stands among all. In
files without it that is the place of the row, which holds of whole files alone.

output_1 is the baseline's; preference is 1 where it is better, 2 where the model's is, or between.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.errors import DataError
from bvrank.evaluation.contest import digest
from bvrank.evaluation.recordings import chosen, once
from bvrank.records import Message, Refused
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.responses import Prompt


@dataclass(frozen=True)
class Row:
    """A comparison: `output_1` is the baseline's, `output_2` the model's. `preference` in [0, 1] is
    for the model; None where there is no verdict. `index` of the instruction among all."""

    instruction: str
    output_1: str
    output_2: str
    generator_1: str
    generator_2: str
    dataset: str
    index: int
    preference: float | None = None

    @property
    def key(self) -> str:
        return digest(self.instruction)


@dataclass(frozen=True)
class Baseline:
    """The official `model_outputs.json` of a baseline: what is asked, and what it answered."""

    path: str

    def prompts(self) -> Iterator[Prompt | Refused]:
        """Every instruction once."""
        for n, (instruction, row) in enumerate(self.rows.items()):
            yield Prompt(n, row.key, (Message("user", instruction),))
        yield from self._read[1]

    @property
    def rows(self) -> dict[str, Row]:
        return self._read[0]

    @property
    def size(self) -> int:
        """Rows of the file, refused ones too."""
        return self._read[2]

    @cached_property
    def _read(self) -> tuple[dict[str, Row], list[Refused], int]:
        found: dict[str, Row] = {}
        refused, size = [], 0
        for n, (where, row) in enumerate(read_rows(self.path)):
            size = n + 1
            try:
                told = {name: _text(row, name) for name in ("instruction", "output")}
            except Unfit as error:
                refused.append(error.refused(where))
                continue
            if told["instruction"] in found:
                refused.append(Refused(where, TWICE, "stands in an earlier row"))
                continue
            names = str(row.get("generator") or "baseline"), "", str(row.get("dataset") or "")
            found[told["instruction"]] = Row(told["instruction"], told["output"], "", *names, n)
        return found, refused, size


@dataclass(frozen=True)
class Recorded:
    """`rows` of an `annotations.json`; `size`: how many it holds of the model, where only their
    places say which instruction is which, else None."""

    rows: list[Row]
    reasons: Counter[str]
    size: int | None


def recorded(path: str, limit: int | None, model: str | None = None) -> Recorded:
    """The first `limit` rows of an official `annotations.json`; of `model` where it holds several.
    DataError for a row that is none, a second row on one instruction, and several models."""
    told = [(str(row.get("generator_2") or ""), (where, row)) for where, row in read_rows(path)]
    own = chosen(told, model, path)
    indices = [row.get("index") for _, row in own]
    places = all(index is None for index in indices)
    rows = [
        _recorded(where, row, n if places else indices[n]) for n, (where, row) in enumerate(own)
    ]
    once((row.instruction for row in rows), path)
    once((f"index {row.index}" for row in rows), path)
    kept = rows[:limit]
    reasons = Counter({"no_preference": sum(row.preference is None for row in kept)})
    return Recorded(kept, +reasons, len(rows) if places else None)


def _recorded(where: str, row: Mapping[str, Any], index: Any) -> Row:
    if not isinstance(index, int) or isinstance(index, bool):
        raise DataError(f"index {index!r} is no number, and other rows have one", where=where)
    try:
        told = {k: _text(row, k) for k in ("instruction", "output_1", "output_2")}
    except Unfit as error:
        raise DataError(error.detail, where=where) from None
    told |= {k: str(row.get(k) or "") for k in ("generator_1", "generator_2", "dataset")}
    return Row(**told, index=index, preference=_preference(row.get("preference"), where))


def _preference(value: Any, where: str) -> float | None:
    """1..2 as 0..1; 0 was once a tie."""
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        raise DataError(f"preference {value!r} is no number", where=where) from None
    if math.isnan(number):
        return None
    if number and not 1 <= number <= 2:
        raise DataError(f"preference {value!r} does not lie in 1..2", where=where)
    return number - 1 if number else 0.5


def annotation(row: Row) -> dict[str, Any]:
    """An official annotation, and its index."""
    names = ("instruction", "output_1", "generator_1", "dataset", "output_2", "generator_2")
    known = None if row.preference is None else 1 + row.preference
    told = {name: getattr(row, name) for name in names}
    return {**told, "preference": known, "index": row.index}


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str):
        raise Unfit("no_text", f"'{name}' holds no text")
    return str(row[name])
