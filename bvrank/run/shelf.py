"""What lies in an artifact store: its entries, their size, when they were used, what is damaged.

Sealed entries (bvrank.run.store) verify themselves. Reference log-probs have files of their own
kind; whoever knows how to read them passes `broken`, which lists those that are not whole.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bvrank.run.store import SEAL, alone, damage

KINDS = {
    "models": "taught models",
    "pairs": "pairs that a policy sampled",
    "accuracy": "accuracy of a policy on test problems",
    "tokenizers": "tokenizers trained on a file",
    "rows": "encoded rows of a file",
    "reference": "reference log-probs",
}
OPEN = "reference"  # the kind whose entries grow file by file and have no seal
HOUR, DAY = 3600.0, 86_400.0  # seconds; what nobody wrote to for an hour was left behind
Broken = Callable[[Path], Sequence[Path]]


@dataclass(frozen=True)
class Entry:
    """One entry. `bytes` on disk; `used` is when a run last made or read it, in seconds."""

    kind: str
    path: Path
    bytes: int
    used: float

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.name}"

    def problem(self, broken: Broken) -> str | None:
        """What is damaged in it; None when it is whole."""
        if self.kind != OPEN:
            return damage(self.path)
        torn = [p.name for p in broken(self.path)]
        return f"{', '.join(torn[:3])} {'are' if torn[1:] else 'is'} torn" if torn else None


def entries(store: Path) -> list[Entry]:
    """Every entry, by kind, the one used last first."""
    found = [
        Entry(kind, path, _bytes(path), _used(path))
        for kind in KINDS
        for path in (store / kind).glob("*")
        if path.is_dir() and not _unfinished(path)
    ]
    return sorted(found, key=lambda e: (list(KINDS).index(e.kind), -e.used, e.path.name))


def left_behind(store: Path) -> list[Path]:
    """What writers that died left half-written, and nobody has written to for an hour."""
    parts = [p for kind in KINDS for p in (store / kind).glob("*") if _unfinished(p)]
    parts += (store / OPEN).glob("*/*.tmp")
    return sorted(p for p in parts if time.time() - p.lstat().st_mtime > HOUR)


def remove(path: Path) -> None:
    """Takes an entry away at once, then deletes it: no reader finds half of one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with alone(path.parent):
        os.rename(path, aside)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def _unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".part"


def _files(path: Path) -> Iterator[Path]:
    return (p for p in path.rglob("*") if p.is_file())


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in _files(path))


def _used(path: Path) -> float:
    seal = path / SEAL
    return (seal if seal.is_file() else path).stat().st_mtime
