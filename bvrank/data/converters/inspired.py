"""INSPIRED (arXiv 2009.14306): movie recommendation, a list for each turn that recommends.

    [{"text": ..., "role": "RECOMMENDER", "movie_name": ["Full Metal Jacket"], ...}, ...]

Either the linked form of UniCRS (arXiv 2206.09363), a JSON list of turns on each line, whose titles
are those that could be linked; or the original tsv, an utterance on each line, whose column
`movies` holds titles between semicolons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.dialogues import Dialogues, Turn
from bvrank.data.lines import read_lines
from bvrank.data.refusals import Unfit
from bvrank.data.turns import text
from bvrank.errors import DataError
from bvrank.records import Refused

ROLES = {"RECOMMENDER": True, "SEEKER": False}
COLUMNS = ("dialog_id", "speaker", "text", "movies")


@dataclass(frozen=True)
class INSPIRED(Dialogues):
    """Lists of titles of which those that the recommender names next are relevant."""

    def read(self, path: str | Path) -> Iterator[tuple[str, Any]]:
        """Dialogues of either form, each a list of turns."""
        lines = read_lines(path)
        where, first = next(lines)
        if first.startswith("dialog_id\t"):
            yield from _tsv(first.split("\t"), lines, where)
            return
        yield where, _parsed(where, first)
        for where, line in lines:
            yield where, _parsed(where, line)

    def convert(self, where: str, row: Any) -> list[Draft | Refused]:
        """A draft for each turn that recommends. The dialogue's text is its name where it has no
        other."""
        try:
            turns = [_turn(value, f"turn {i}") for i, value in enumerate(_turns(row), start=1)]
        except Unfit as error:
            return [error.refused(where)]
        said = "\n".join(f"{t.recommender} {t.said}" for t in turns)
        return self.lists(where, blake2b(said.encode(), digest_size=8).hexdigest(), turns)


def _turns(row: Any) -> list[Any]:
    if not isinstance(row, list) or not row:
        raise Unfit("wrong_type", "the row is not a list of turns")
    return row


def _turn(value: Any, name: str) -> Turn:
    if not isinstance(value, dict):
        raise Unfit("wrong_type", f"{name} is no object")
    role = text(value.get("role"), f"role of {name}")
    if role not in ROLES:
        raise Unfit("role", f"{name} is spoken by neither RECOMMENDER nor SEEKER")
    titles = value.get("movie_name") or []
    if not isinstance(titles, list):
        raise Unfit("wrong_type", f"'movie_name' of {name} is no list")
    named = tuple(text(t, f"movie_name of {name}").strip() for t in titles)
    return Turn(ROLES[role], text(value.get("text"), f"text of {name}"), tuple(filter(None, named)))


def _parsed(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            "is no valid JSON", where=where, repair="A line is a JSON list of turns."
        ) from error


def _tsv(header: list[str], lines: Iterator[tuple[str, str]], where: str
         ) -> Iterator[tuple[str, Any]]:  # fmt: skip
    """Dialogues of the original files, whose quotes are text. Sentences of one turn stay apart."""
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(f"has no column '{missing[0]}'", where=where)
    current, start, turns = None, where, list[dict[str, Any]]()
    for place, line in lines:
        cells = line.split("\t")
        if len(cells) != len(header):
            what = f"{len(cells)} cells under {len(header)} column names"
            raise DataError(what, where=place, repair="Cells may hold no tab and no line break.")
        row = dict(zip(header, cells, strict=True))
        if row["dialog_id"] != current and turns:
            yield start, turns
            turns = []
        if not turns:
            current, start = row["dialog_id"], place
        titles = [t.strip() for t in row["movies"].split(";") if t.strip()]
        turns.append({"role": row["speaker"], "text": row["text"], "movie_name": titles})
    if turns:
        yield start, turns
