"""Public data sets into rows that train. A converter is one file here and one in conf/from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bvrank.records import Refused


@dataclass(frozen=True)
class Draft:
    """A row on its way out, before anything is drawn from other rows.

    keys: what must not stand in train and test at once: a dialogue, a question, a prompt.
    content: the row itself, or what the converter's `finish` makes one of.
    """

    where: str
    keys: tuple[str, ...]
    content: Any


class Converter(Protocol):
    """Turns raw rows into rows of a list or pair file.

    Two more methods are looked for. `read(path)` yields (where, raw row) of a file that holds no
    objects. `finish(drafts, known)` yields the rows of `drafts`, or refusals; what it draws from
    other rows it draws from those of `known`.
    """

    @property
    def kind(self) -> str:
        """The source that reads what comes out: lists or pairs."""

    def convert(self, where: str, row: Any) -> Sequence[Draft | Refused]:
        """What one raw row gives: drafts of rows and why there are not more. Never raises over
        what a row holds, and never says nothing."""


def finished(converter: Any, drafts: Sequence[Draft], known: Sequence[Draft]
             ) -> Iterator[dict[str, Any] | Refused]:  # fmt: skip
    """The rows of `drafts` by the converter's `finish`, or their contents where it has none."""
    finish = getattr(converter, "finish", None)
    found: Iterable[dict[str, Any] | Refused] = (
        finish(drafts, known) if finish else (d.content for d in drafts)
    )
    yield from found
