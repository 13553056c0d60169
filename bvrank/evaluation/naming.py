"""Which candidates a text names, in which order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"^\s*(?:[-*\u2022]+|\(?\d{1,3}[.):])\s+")
_QUOTES = " \t\"'`*_\u201c\u201d\u2018\u2019"
_STOPS = _QUOTES + ".,;:"
_EDGES = _STOPS + "!?"
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
    between. Case, quotes, emphasis and signs around one do not count, but where that would make
    two candidates one: then what is nearest to the letter counts, and what fits two is none. A line
    that ends in a colon introduces the list and is no piece."""
    known = _Known(candidates)
    order: list[int] = []
    invented = repeated = 0
    for piece in _pieces(text, known):
        if piece is None:
            invented += 1
        elif piece in order:
            repeated += 1
        else:
            order.append(piece)
    return Named(tuple(order), invented, repeated)


class _Known:
    """The candidates by each way to compare them, the strictest first."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self._levels = [_level(candidates, form) for form in _FORMS]
        folds = {_whole(c).casefold() for c in candidates}
        self._fold = len(folds) == len({*map(_whole, candidates)})  # else case tells some apart
        forms = {self.line(form(c)) for c in candidates for form in (_whole, _plain)}
        longest = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        how = re.NOFLAG if self._fold else re.IGNORECASE
        self.finder = re.compile(rf"(?<!\w)(?:{longest})(?!\w)", how)

    def line(self, text: str) -> str:
        """A text as `finder` searches it."""
        return _whole(text).casefold() if self._fold else _whole(text)

    def __contains__(self, text: str) -> bool:
        return any(form(text) in own for form, own in zip(_FORMS, self._levels, strict=True))

    def __getitem__(self, text: str) -> int | None:
        """The candidate that a text is; None of one that could be several."""
        found = (own[form(text)] for form, own in zip(_FORMS, self._levels, strict=True)
                 if form(text) in own)  # fmt: skip
        return next(found, None)  # letters that only a search takes for one: i and dotless i


def _level(candidates: Sequence[str], form: Callable[[str], str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for number, candidate in enumerate(candidates):
        own = form(candidate)
        found[own] = None if own in found else number
    return found


def _pieces(text: str, known: _Known) -> Iterator[int | None]:
    """The candidate of each piece, None of what is none."""
    for line in text.splitlines():
        body = _NUMBER.sub("", line)
        if not _plain(body):
            continue
        if body in known:
            yield known[body]
        elif not body.rstrip(" *_").endswith(":"):
            yield from _inside(known.line(body), known)


def _inside(line: str, known: _Known) -> Iterator[int | None]:
    """Candidates inside a line, by longest match, and what stands between them."""
    at = 0
    for found in [*known.finder.finditer(line), None]:
        between = line[at : found.start() if found else len(line)]
        words = (_NUMBER.sub("", part) for part in _BETWEEN.split(between))
        yield from (None for part in words if any(map(str.isalnum, part)))
        if found:
            yield known[found.group()]
            at = found.end()


def _whole(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _plain(text: str) -> str:
    """As it is compared at the loosest."""
    told = _whole(text).casefold()
    return told.strip(_EDGES) or told


_FORMS: tuple[Callable[[str], str], ...] = (
    _whole, lambda t: _whole(t).strip(_QUOTES), lambda t: _whole(t).casefold(),
    lambda t: _whole(t).strip(_STOPS), lambda t: _whole(t).casefold().strip(_STOPS), _plain,
)  # fmt: skip
