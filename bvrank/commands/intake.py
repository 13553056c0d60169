"""The rows of a run: read once, divided, tokenised, and kept by content in the store.

What goes through memory is a chunk at a time. The entry holds what trains and what is held out, and
what of both was refused; which rows teach an objective anything is asked afterwards, so that every
objective of the same views finds the entry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers
import transformers

from bvrank.commands.settings import Intake
from bvrank.data.encoding import AT_ONCE, Encoder, Listing
from bvrank.data.files import counted
from bvrank.data.fingerprint import all_local, fingerprint
from bvrank.data.refusals import write_refused
from bvrank.data.shelf import Shelf, Writer
from bvrank.data.split import divided
from bvrank.data.templates import Template
from bvrank.records import Encoded, Example, Refused
from bvrank.run import kept, read_jsonl
from bvrank.tracking.progress import Phase, phase

T = TypeVar("T")
VERSION = 1  # of what an entry holds; older ones are not used
MANY = 5000  # rows from which on encoding shows how far it is
TRAIN, HELD = "train", "held_out"


@dataclass(frozen=True)
class Material:
    """What rows are made of: sources, and everything that says how they are read."""

    source: Any
    held_source: Any
    intake: Intake
    template: Template
    views: tuple[str, ...]
    seed: int

    def encoder(self) -> Encoder:
        """From examples to trees."""
        return Encoder(
            self.template, self.views, self.intake.max_length, self.intake.overlong,
            getattr(self.source, "listing", Listing()), self.seed,
        )  # fmt: skip

    def key(self, content: str | None) -> str | None:
        """The name of the entry; None where the content of a source is not known here."""
        sources = [s for s in (self.source, self.held_source) if s is not None]
        if not all(is_dataclass(s) and type(s).__module__.startswith("bvrank.") for s in sources):
            return None
        nodes = [asdict(s) for s in sources]
        if not all(map(all_local, nodes)):
            return None
        files = content or [fingerprint(node) for node in nodes]
        parts = [
            VERSION, transformers.__version__, tokenizers.__version__, files, *map(repr, sources),
            repr(self.intake), self.template.identity(), self.views, self.seed,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Half:
    """Rows that train or are held out, what was refused, and how many there were."""

    rows: Shelf
    refused: list[Refused]
    found: int


def encoded(material: Material, store: Path, content: str | None) -> tuple[Half, Half]:
    """(train, held out). `content` is the fingerprint of the sources' files, if it is known."""
    key = material.key(content)
    if key is None:
        hold = _Passing()
        _write(material, hold.path)
        return _half(hold.path, TRAIN, hold), _half(hold.path, HELD, hold)
    folder = kept(store / "rows" / key, lambda: lambda part: _write(material, part))
    return _half(folder, TRAIN), _half(folder, HELD)


class _Passing:
    """A folder that is gone with this object, or with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bvrank-rows-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _half(folder: Path, name: str, hold: Any = None) -> Half:
    own = folder / name
    lines, _ = read_jsonl(own / "refused.jsonl")
    found = json.loads((own / "found.json").read_text(encoding="utf-8"))
    return Half(Shelf(own, hold=hold), [Refused(**line) for line in lines], found)


def _write(material: Material, part: Path) -> None:
    total = counted(getattr(material.source, "path", None)) or 0
    sides = {name: _Side(part / name, material.encoder()) for name in (TRAIN, HELD)}
    rows = divided(
        material.source, material.held_source, material.intake.eval_fraction, material.seed
    )
    with ExitStack() as files, _shown(total) as advance:
        for side in sides.values():
            files.enter_context(side.writer)
        for held, row in rows:
            advance(sides[HELD if held else TRAIN].add(row))
        for side in sides.values():
            advance(side.close())


class _Side:
    """One half while it is written; both methods return how many rows they have dealt with."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir()
        self.folder, self.encoder, self.writer = folder, encoder, Writer(folder)
        self.waiting: list[Example | Refused] = []
        self.refused: list[Refused] = []
        self.found = 0

    def add(self, row: Example | Refused) -> int:
        self.waiting.append(row)
        return self._encode() if len(self.waiting) == AT_ONCE else 0

    def close(self) -> int:
        done = self._encode()
        self.writer.close()
        write_refused(self.folder / "refused.jsonl", self.refused)
        (self.folder / "found.json").write_text(str(self.found), encoding="utf-8")
        return done

    def _encode(self) -> int:
        rows, self.waiting = self.waiting, []
        if rows:
            for item in self.encoder.chunk(rows):
                if isinstance(item, Encoded):
                    self.writer.add([item])
                else:
                    self.refused.append(item)
        self.found += len(rows)
        return len(rows)


class _shown:
    """Shows how far it is where there is much; counts in silence where there is little."""

    def __init__(self, total: int) -> None:
        self._phase = phase("encoding", total) if total > MANY else None
        self._running: Phase | None = None

    def __enter__(self) -> Callable[[int], None]:
        if self._phase is None:
            return lambda _: None
        self._running = self._phase.__enter__()
        return lambda rows: self._running.advance(rows) if rows and self._running else None

    def __exit__(self, *error: Any) -> None:
        if self._phase is not None:
            self._phase.__exit__(*error)


def representatives(rows: Shelf) -> tuple[Sequence[Encoded], np.ndarray]:
    """A row of each kind that objectives count alike, and for every row the place of its kind."""
    _, first, place = np.unique(rows.alike, return_index=True, return_inverse=True)
    return rows.take(first), place


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Rows in parts that are laid out together."""
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]
