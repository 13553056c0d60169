"""Token trees as people can read them: pieces of text, token by token."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bvrank.data.templates import Template
from bvrank.records import Branch, Encoded


@dataclass(frozen=True)
class Piece:
    """The text of a token (of several, where only together they are whole characters)."""

    text: str
    special: bool
    tokens: int = 1


@dataclass(frozen=True)
class Span:
    """A segment of a tree. `branches` are those that score it: none for context."""

    ids: tuple[int, ...]
    branches: tuple[Branch, ...]


def spans(row: Encoded, view: str) -> list[Span]:
    """The segments that lie on the paths of a view's branches, parents first."""
    paths = row.paths()
    mine = [b for b in row.branches if b.view == view]
    used = {s for b in mine for s in paths[b.segments[-1]]}
    return [
        Span(
            tuple(int(i) for i in row.segments[s].ids),
            tuple(b for b in mine if s in b.segments),
        )
        for s in sorted(used)
    ]


def pieces(ids: Sequence[int], template: Template) -> Iterator[Piece]:
    """Ids as text, one piece per token; control characters are written out."""
    special = set(template.tokenizer.all_special_ids) | {template.end_id}
    start = 0
    while start < len(ids):
        size = _whole(ids, start, template)
        text = template.decode([ids[start : start + size]])[0]
        yield Piece(_visible(text), ids[start] in special, size)
        start += size


def _whole(ids: Sequence[int], start: int, template: Template) -> int:
    """How many tokens from `start` decode to whole characters (a character has 4 bytes at most)."""
    for size in range(1, min(4, len(ids) - start) + 1):
        if "\ufffd" not in template.decode([ids[start : start + size]])[0]:
            return size
    return 1


def _visible(text: str) -> str:
    """`text` without what would move a terminal's cursor; the end of a line is also a mark."""
    return "".join(
        "\u21b5\n" if c == "\n" else c if unicodedata.category(c) not in ("Cc", "Cf") else _code(c)
        for c in text
    )


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
