"""Preference pairs: thinking answers (D_t), answers given without thinking (D_e), or both.

Where D_e comes from: a second file, a `view` column (full | bare), `chosen_bare` and
`rejected_bare` beside the others, or (bare_from=reuse) the answers of D_t without their traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal

from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.data.sides import Columns, detect, read_pair
from bvrank.data.spool import Spool
from bvrank.data.turns import shown
from bvrank.data.views import Found, Partners, merged, only, pair, reused, view_of
from bvrank.errors import ConfigError, DataError
from bvrank.records import BARE, FULL, Example, Refused

PEEK = 100  # rows whose columns decide the form of a file


@dataclass(frozen=True)
class Pairs:
    """A source of prompts, each with a chosen and a rejected response, in one view or two.

    path, bare_path: a file, a folder of `datasets` or a hub id; bare_path holds D_e.
    bare_from: fresh (the bare rows there are), reuse (answers of D_t without their traces), or
    None: fresh where there are bare rows, else the full view alone.
    pairing: prompt joins bare rows to full ones by prompt (a full row takes the next bare row of
    its prompt, round and round; rows that find no partner keep their one view, and bare rows wait
    in a temporary file for theirs); independent gives
    every example one view, so that the two are drawn as separate streams.
    view: the view of rows in `path` that do not say their own.
    """

    path: str
    bare_path: str | None = None
    bare_from: Literal["fresh", "reuse"] | None = None
    pairing: Literal["prompt", "independent"] = "prompt"
    view: Literal["full", "bare"] = "full"
    split: str | None = None
    bare_split: str | None = None
    prompt_column: str = "prompt"
    chosen_column: str = "chosen"
    rejected_column: str = "rejected"
    view_column: str = "view"
    system_column: str | None = None

    def __post_init__(self) -> None:
        _one_of(self, "bare_from", (None, "fresh", "reuse"))
        _one_of(self, "pairing", ("prompt", "independent"))
        _one_of(self, "view", (FULL, BARE))
        if self.bare_from == "reuse" and self.bare_path is not None:
            raise ConfigError(
                "reuse makes the bare view of `path`, so bare_path would not be read",
                where="bare_from",
                repair="Leave bare_path out, or set bare_from=fresh.",
            )
        if self.view == BARE and (self.bare_path is not None or self.bare_from is not None):
            raise ConfigError(
                "bare makes every row of `path` bare: nothing is left to pair with",
                where="view",
                repair="Set view=full, or leave bare_path and bare_from out.",
            )
        if self.bare_split is not None and self.bare_path is None:
            raise ConfigError("chooses a split of bare_path, which is not set", where="bare_split")

    def rows(self) -> Iterator[Found]:
        """Examples and refused rows in file order; bare rows that found no partner come last."""
        main = _Table.of(self, self.path, self.split, self.view)
        bare = None
        if self.bare_path is not None:
            bare = _Table.of(self, self.bare_path, self.bare_split, BARE)
        found: Iterator[Found]
        if self.bare_from == "reuse":
            found = chain.from_iterable(map(_reused, main.parts()))
        elif self.bare_from is None and not bare and not main.mixed:
            found = chain.from_iterable(main.parts())
        elif self.pairing == "prompt":
            found = self._joined(main, bare)
        else:
            found = self._apart([main, bare] if bare else [main])
        return found if self.pairing == "prompt" else _single(found)

    def held(self, path: str) -> Pairs:
        """The source of a held-out file of the same form; it brings its own bare rows, if any."""
        reuse: Literal["reuse"] | None = "reuse" if self.bare_from == "reuse" else None
        return replace(
            self, path=path, split=None, bare_path=None, bare_split=None, bare_from=reuse
        )

    def _apart(self, tables: Iterable[_Table]) -> Iterator[Found]:
        views = set()
        for item in chain.from_iterable(chain.from_iterable(t.parts() for t in tables)):
            views.add(view_of(item) if isinstance(item, Example) else None)
            yield item
        if self.bare_from == "fresh" and BARE not in views:
            raise self._no_bare()

    def _joined(self, main: _Table, bare: _Table | None) -> Iterator[Found]:
        refused: Spool[Refused] = Spool()
        second = _without(refused, bare.parts()) if bare else iter(())
        first = chain.from_iterable(main.parts()) if main.has_views else iter(())
        partners = Partners(
            (item for item in first if isinstance(item, Example) and view_of(item) == BARE), second
        )
        if self.bare_from == "fresh" and not len(partners) and not main.has_bare_columns:
            raise self._no_bare()
        for parts in main.parts():
            yield from _with_partner(parts, partners)
        yield from refused
        yield from partners.left()

    def _no_bare(self) -> DataError:
        return DataError(
            "bare_from=fresh, but there are no bare rows",
            where=self.path,
            repair="Name them with bare_path, or set bare_from=reuse.",
        )


@dataclass(frozen=True)
class _Table:
    """A file whose form is known."""

    path: str
    split: str | None
    columns: Columns
    form: str
    view: str
    view_column: str
    has_views: bool
    has_bare_columns: bool

    @classmethod
    def of(cls, pairs: Pairs, path: str, split: str | None, view: str) -> _Table:
        """Reads the first rows to find out."""
        seen = {k for _, row in islice(read_rows(path, split), PEEK) for k in row}
        columns = Columns(
            pairs.prompt_column, pairs.chosen_column, pairs.rejected_column, pairs.system_column
        )
        form, column = detect(columns, seen, path), pairs.view_column
        apart = view == FULL and {columns.bare.chosen, columns.bare.rejected} <= seen
        return cls(path, split, columns, form, view, column, column in seen, apart)

    @property
    def mixed(self) -> bool:
        """Whether it may hold both views."""
        return self.has_views or self.has_bare_columns

    def parts(self) -> Iterator[list[Found]]:
        """For each row its examples, one per view, or the refusal."""
        for where, row in read_rows(self.path, self.split):
            yield list(self._parts(where, row))

    def _parts(self, where: str, row: Mapping[str, Any]) -> Iterator[Found]:
        try:
            yield self._example(where, row, self.columns, self._view(row))
        except Unfit as error:
            yield error.refused(where)
        if self.has_bare_columns and self._bare_given(row):
            try:
                yield self._example(where, row, self.columns.bare, BARE)
            except Unfit as error:
                yield error.refused(where)

    def _example(self, where: str, row: Mapping[str, Any], columns: Columns, view: str) -> Example:
        return pair(where, *read_pair(row, self.form, columns), view)

    def _bare_given(self, row: Mapping[str, Any]) -> bool:
        bare = self.columns.bare
        return row.get(bare.chosen) is not None or row.get(bare.rejected) is not None

    def _view(self, row: Mapping[str, Any]) -> str:
        if not self.has_views:
            return self.view
        value = row.get(self.view_column)
        if isinstance(value, str) and value in (FULL, BARE):
            return value
        raise Unfit("view", f"'{self.view_column}' is {shown(str(value))}, not full or bare")


def _reused(parts: list[Found]) -> Iterator[Found]:
    for item in parts:
        if isinstance(item, Refused):
            yield item
        elif view_of(item) == BARE:
            raise DataError(
                "is a bare row, but bare_from=reuse would not train on it",
                where=item.where,
                repair="Set bare_from=fresh, or take the bare rows out.",
            )
        else:
            yield from reused(item)


def _without(refused: Spool[Refused], rows: Iterable[list[Found]]) -> Iterator[Example]:
    """The examples of a bare table; what was refused of it waits for its turn."""
    for item in chain.from_iterable(rows):
        if isinstance(item, Refused):
            refused.add(item)
        elif view_of(item) == BARE:
            yield item


def _with_partner(parts: list[Found], partners: Partners) -> Iterator[Found]:
    """A row of the full table with the bare view it brought or the next one of its prompt."""
    examples = [item for item in parts if isinstance(item, Example)]
    yield from (item for item in parts if isinstance(item, Refused))
    if len(examples) == 2:
        yield merged(*examples)
    elif examples and view_of(examples[0]) == FULL:
        yield partners.join(examples[0])
    elif examples and len(parts) == 2:  # its full part was refused: the bare one stands alone
        yield examples[0]


def _single(found: Iterable[Found]) -> Iterator[Found]:
    for item in found:
        if isinstance(item, Refused):
            yield item
        else:
            yield from (only(item, v) for v in dict.fromkeys(c.view for c in item.candidates))


def _one_of(pairs: Pairs, name: str, known: tuple[str | None, ...]) -> None:
    value = getattr(pairs, name)
    if value not in known:
        names = ", ".join(str(k or "null") for k in known)
        raise ConfigError(f"must be one of {names}, got {value!r}", where=name)
