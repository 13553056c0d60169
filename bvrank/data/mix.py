"""Several sources as one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

from bvrank.data.arithmetic import Arithmetic
from bvrank.data.encoding import Listing
from bvrank.data.views import numbered
from bvrank.errors import ConfigError, DataError
from bvrank.protocols import Source
from bvrank.records import BARE, FULL, Example, Refused


@dataclass(frozen=True)
class Part:
    """A source inside a mix. slot: put all of its candidates into that view, rendered as before.

    Rows answered without thinking, put into the slot "full", stand beside rows that thought: the
    union of both kinds of pairs for an objective of one view.
    """

    source: Source
    slot: Literal["full", "bare"] | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.source, "rows"):
            raise ConfigError(f"must be a source, got {self.source!r}", where="source")
        if self.slot not in (None, FULL, BARE):
            raise ConfigError(f"must be full, bare or null, got {self.slot!r}", where="slot")
        if self.weight is not None and not 0 < self.weight < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.weight}", where="weight")

    def rows(self) -> Iterator[Example | Refused]:
        """The source's rows, one example per view where they are put into one slot."""
        for row in self.source.rows():
            if isinstance(row, Refused) or self.slot is None:
                yield row
                continue
            for view in dict.fromkeys(c.view for c in row.candidates):
                own = [i for i, c in enumerate(row.candidates) if c.view == view]
                moved = [replace(row.candidates[i], view=self.slot) for i in own]
                shown = None if row.shown is None else tuple(row.shown[i] for i in own)
                yield replace(numbered(row.where, row.prompt, moved), shown=shown)


@dataclass(frozen=True)
class Mix:
    """The rows of every part, one part after the other.

    Without weights each row stands once. With weights (then every part has one) the mix has as many
    examples as before, but part p makes up weight_p / sum of weights of them: rows of a part that
    is too small repeat, others are left out; `seed` draws which.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        parts = self.parts.values() if isinstance(self.parts, Mapping) else [None]
        if not all(isinstance(part, Part) for part in parts):
            raise ConfigError("must be parts by name, each built of its own keys", where="parts")
        if not self.parts:
            raise ConfigError("holds no part", where="parts", repair="Add parts.<name>.source=...")
        weighted = [name for name, part in self.parts.items() if part.weight is not None]
        if weighted and len(weighted) < len(self.parts):
            missing = next(name for name in self.parts if name not in weighted)
            raise ConfigError(
                "is missing: weights are given for all parts or for none",
                where=f"parts.{missing}.weight",
            )
        _ = self.listing

    @property
    def listing(self) -> Listing:
        """What the parts say of their lists; ConfigError when they disagree."""
        found = {
            name: listing
            for name, part in self.parts.items()
            if (listing := getattr(part.source, "listing", None)) is not None
        }
        if len(set(found.values())) > 1:
            raise ConfigError(
                f"{' and '.join(found)} differ in context, separator or end_token", where="parts"
            )
        return next(iter(found.values()), Listing())

    def rows(self) -> Iterator[Example | Refused]:
        """Part after part; refused rows stand where they were found, once each."""
        if all(part.weight is None for part in self.parts.values()):
            for part in self.parts.values():
                yield from part.rows()
            return
        found = {name: list(part.rows()) for name, part in self.parts.items()}
        kept = {n: [r for r in rows if isinstance(r, Example)] for n, rows in found.items()}
        for name, rows in kept.items():
            if not rows:
                raise DataError("has a weight but no row", where=f"data.parts.{name}")
        total = sum(map(len, kept.values()))
        weights = {name: part.weight or 0.0 for name, part in self.parts.items()}
        for name, rows in kept.items():
            yield from (r for r in found[name] if isinstance(r, Refused))
            wanted = max(1, round(total * weights[name] / sum(weights.values())))
            yield from self._resized(name, rows, wanted)

    def held(self, path: str) -> Mix:
        """The source of one held-out file, read as the first part reads its own."""
        name, part = next(iter(self.parts.items()))
        if not hasattr(part.source, "held"):
            raise ConfigError(f"the first part, {name}, reads no file", where="eval_path")
        source = replace(part, source=part.source.held(path), weight=None)
        return Mix({name: source}, self.seed)

    def _resized(self, name: str, rows: list[Example], wanted: int) -> Iterator[Example]:
        """`wanted` rows in file order: whole passes, and a drawn share of one more."""
        passes, extra = divmod(wanted, len(rows))
        key = blake2b(f"{self.seed}|{name}".encode(), digest_size=8).digest()
        drawn = set(random.Random(int.from_bytes(key, "big")).sample(range(len(rows)), extra))
        for turn in range(passes + 1):
            yield from (r for i, r in enumerate(rows) if turn < passes or i in drawn)


def worlds(source: Any) -> list[Arithmetic]:
    """The generated worlds among a source and the parts of a mix."""
    if isinstance(source, Mix):
        return [world for part in source.parts.values() for world in worlds(part.source)]
    return [source] if isinstance(source, Arithmetic) else []


def with_worlds(source: Any, made: Callable[[Arithmetic], Arithmetic]) -> Any:
    """The source with `made` of each of its worlds in its place."""
    if isinstance(source, Mix):
        parts = source.parts.items()
        return replace(source, parts={
            n: replace(p, source=with_worlds(p.source, made)) for n, p in parts
        })  # fmt: skip
    return made(source) if isinstance(source, Arithmetic) else source
