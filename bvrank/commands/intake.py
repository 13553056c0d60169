"""The rows of a run: read once, divided, tokenised, and kept by content in the store.

What goes through memory is a chunk at a time. The entry holds what trains and what is held out, and
what of both was refused; which rows teach an objective anything is asked afterwards, so that every
objective of the same views finds the entry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import unidata_version

import jinja2
import numpy as np
import tokenizers
import transformers

import bvrank
from bvrank.commands.settings import Intake
from bvrank.data.encoding import AT_ONCE, Encoder, Listing
from bvrank.data.files import counted
from bvrank.data.fingerprint import all_local, fingerprint
from bvrank.data.refusals import write_refused
from bvrank.data.shelf import Shelf, Writer
from bvrank.data.split import divided
from bvrank.data.templates import Template
from bvrank.records import Encoded, Example, Refused
from bvrank.run import read_jsonl
from bvrank.run.store import filled, telling, unwritable, whole
from bvrank.tracking.progress import Phase, phase

T = TypeVar("T")
Told = Callable[[], AbstractContextManager[None]]
NO_ROWS = ("eval_path", "max_refused")  # the path is the held-out source's, the limit no row's
CODE = ("data/*.py", "answers.py", "records.py", "hub.py", "scoring/reference.py",
        "commands/intake.py")  # fmt: skip
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

    @property
    def sources(self) -> list[Any]:
        """The source, and that of held-out rows where there is one."""
        return [s for s in (self.source, self.held_source) if s is not None]

    def content(self) -> list[str] | None:
        """The fingerprint of each source; None where the content of one is not known here."""
        known = (is_dataclass(s) and type(s).__module__.startswith("bvrank.") for s in self.sources)
        if not all(known):
            return None
        nodes = [asdict(s) for s in self.sources]
        return [fingerprint(node) for node in nodes] if all(map(all_local, nodes)) else None

    def key(self, content: list[str]) -> str:
        """The name of the entry of rows made of this content: everything that decides them, and
        nothing else."""
        intake = {k: v for k, v in asdict(self.intake).items() if k not in NO_ROWS}
        parts = [
            code(), bvrank.__version__, transformers.__version__, tokenizers.__version__,
            jinja2.__version__, unidata_version, content, *map(repr, self.sources), intake,
            self.template.identity(), self.views, self.seed,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@cache
def code() -> str:
    """Hash of the modules that decide what rows are and how they lie on disk. More of them than
    need be: an entry that is made again costs a while, one of older code is wrong, and a number
    raised by hand is forgotten. An installation without sources is known by its version."""
    room, digest = Path(bvrank.__file__).parent, hashlib.sha256()
    for path in sorted({p for pattern in CODE for p in room.glob(pattern)}):
        digest.update(f"{path.relative_to(room)}|".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class Half:
    """Rows that train or are held out, what was refused, and how many there were."""

    rows: Shelf
    refused: list[Refused]
    found: int


def encoded(material: Material, store: Path) -> tuple[Half, Half]:
    """(train, held out), from the store where they are, else made now. They are kept for this run
    alone where the content of a source is not known here, where the store cannot be written to
    and, as they have no name then, where a source changes while it is read."""
    content = material.content()
    if content is None:
        return _passing(material)
    folder = store / "rows" / material.key(content)
    if whole(folder):
        return _halves(folder)
    if reason := unwritable(folder):
        print(f"store: {reason}; encoded rows are kept for this run only", file=sys.stderr)
        return _passing(material)
    try:
        filled(folder, lambda: lambda part: _fill(material, content, folder, part))
    except _Changed as changed:
        print(f"store: {changed}; encoded rows are kept for this run only", file=sys.stderr)
        return _halves(changed.hold.path, changed.hold)
    return _halves(folder)


class _Changed(Exception):
    """What was read is not what the entry would be named by; `hold` has the rows."""

    def __init__(self, sources: list[Any], hold: _Passing) -> None:
        names = ", ".join(str(getattr(s, "path", type(s).__name__)) for s in sources)
        super().__init__(f"{names} changed while it was read")
        self.hold = hold


def _fill(material: Material, content: list[str], folder: Path, part: Path) -> None:
    _write(material, part, lambda: telling(folder))
    now = material.content()
    if now != content:
        hold = _Passing()
        for name in (TRAIN, HELD):
            shutil.move(part / name, hold.path / name)
        pairs = zip(material.sources, content, now or [""] * len(content), strict=True)
        raise _Changed([s for s, before, after in pairs if before != after], hold)


def _passing(material: Material) -> tuple[Half, Half]:
    hold = _Passing()
    _write(material, hold.path, nullcontext)
    return _halves(hold.path, hold)


def _halves(folder: Path, hold: Any = None) -> tuple[Half, Half]:
    return _half(folder, TRAIN, hold), _half(folder, HELD, hold)


class _Passing:
    """A folder that is gone with this object, or with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bvrank-rows-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _half(folder: Path, name: str, hold: Any) -> Half:
    own = folder / name
    lines, _ = read_jsonl(own / "refused.jsonl")
    found = json.loads((own / "found.json").read_text(encoding="utf-8"))
    return Half(Shelf(own, hold=hold), [Refused(**line) for line in lines], found)


def _write(material: Material, part: Path, told: Told) -> None:
    """Rows into a folder. `told` says what a failure to write there means; what sources, templates
    and tokenizers raise is no such thing."""
    total = counted(getattr(material.source, "path", None)) or 0
    sides = {name: _Side(part / name, material.encoder(), told) for name in (TRAIN, HELD)}
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

    def __init__(self, folder: Path, encoder: Encoder, told: Told) -> None:
        self.folder, self.encoder, self.told = folder, encoder, told
        with told():
            folder.mkdir()
            self.writer = Writer(folder)
        self.waiting: list[Example | Refused] = []
        self.refused: list[Refused] = []
        self.found = 0

    def add(self, row: Example | Refused) -> int:
        self.waiting.append(row)
        return self._encode() if len(self.waiting) == AT_ONCE else 0

    def close(self) -> int:
        done = self._encode()
        with self.told():
            self.writer.close()
            write_refused(self.folder / "refused.jsonl", self.refused)
            (self.folder / "found.json").write_text(str(self.found), encoding="utf-8")
        return done

    def _encode(self) -> int:
        rows, self.waiting = self.waiting, []
        done = list(self.encoder.chunk(rows)) if rows else []
        self.refused += [item for item in done if isinstance(item, Refused)]
        with self.told():
            self.writer.add(item for item in done if isinstance(item, Encoded))
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
