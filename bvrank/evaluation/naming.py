"""Which candidates a text names, in which order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"^\s*(?:[-*\u2022]+|\(?\d{1,3}[.):])\s+")
_EDGES = " \t\"'`*_\u201c\u201d\u2018\u2019.,;:!?"
_BETWEEN = re.compile(r"[,;>|]|\band\b|\bthen\b")


@dataclass(frozen=True)
class Named:
    """`order`: candidates by first mention. `invented`: pieces that are no candidate; `repeated`:
    mentions of one that was named before."""

    order: tuple[int, ...]
    invented: int
    repeated: int

    def scores(self, count: int) -> list[float]:
        """Falling by mention; those that are not named share the last place."""
        found = [0.0] * count
        for place, candidate in enumerate(self.order):
            found[candidate] = float(count - place)
        return found

    @property
    def mentions(self) -> int:
        """Pieces in all."""
        return len(self.order) + self.invented + self.repeated


def named(text: str, candidates: Sequence[str]) -> Named:
    """Reads a list: a candidate on each line, perhaps numbered, or several on one with commas
    between. Case, quotes, emphasis and full stops around one do not count. A line that ends in a
    colon introduces the list and is no piece."""
    known = {_plain(c): i for i, c in enumerate(candidates)}
    longest = sorted(known, key=len, reverse=True)
    finder = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)")
    order: list[int] = []
    invented = repeated = 0
    for piece in _pieces(text, known, finder):
        if piece is None:
            invented += 1
        elif piece in order:
            repeated += 1
        else:
            order.append(piece)
    return Named(tuple(order), invented, repeated)


def _pieces(text: str, known: dict[str, int], finder: re.Pattern[str]) -> Iterator[int | None]:
    """The candidate of each piece, None of what is none."""
    for line in text.splitlines():
        body = _NUMBER.sub("", line)
        plain = _plain(body)
        if not plain:
            continue
        if plain in known:
            yield known[plain]
        elif not body.rstrip(" *_").endswith(":"):
            yield from _inside(plain, known, finder)


def _inside(line: str, known: dict[str, int], finder: re.Pattern[str]) -> Iterator[int | None]:
    """Candidates inside a line, by longest match, and what stands between them."""
    at = 0
    for found in [*finder.finditer(line), None]:
        between = line[at : found.start() if found else len(line)]
        words = (_NUMBER.sub("", part) for part in _BETWEEN.split(between))
        yield from (None for part in words if any(map(str.isalnum, part)))
        if found:
            yield known[found.group()]
            at = found.end()


def _plain(text: str) -> str:
    """As it is compared."""
    told = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return told.strip(_EDGES) or told
