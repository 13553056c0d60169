"""What lies in an artifact store: its entries, their size, when they were used, what is damaged.

Sealed entries (bvrank.run.store) verify themselves. Reference log-probs have files of their own
kind; whoever knows how to read them passes `broken`, which lists those that are not whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bvrank.run.store import SEAL, abandoned, alone, damage

KINDS = {
    "models": "taught models",
    "pairs": "pairs that a policy sampled",
    "accuracy": "accuracy of a policy on test problems",
    "tokenizers": "tokenizers trained on a file",
    "rows": "encoded rows of a file",
    "verdicts": "verdicts of a judge",
    "reference": "reference log-probs",
}
OPEN = "reference"  # the kind whose entries grow file by file and have no seal
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

    @property
    def gone(self) -> bool:
        """Whether somebody has taken it away since it was listed."""
        return not self.path.is_dir()

    def problem(self, broken: Broken) -> str | None:
        """What is damaged in it; None when it is whole, or gone."""
        if self.kind != OPEN:
            found = damage(self.path)
        else:
            torn = [p.name for p in broken(self.path)]
            found = f"{', '.join(torn[:3])} {'are' if torn[1:] else 'is'} torn" if torn else None
        return None if self.gone else found

    def now_used(self) -> float:
        """When a run last made or read it, by now; FileNotFoundError when it is gone."""
        return _used(self.path)


def entries(store: Path) -> list[Entry]:
    """Every entry, by kind, the one used last first. What goes meanwhile is left out."""
    found = [
        entry
        for kind in KINDS
        for path in _listed(store / kind)
        if path.is_dir() and not _unfinished(path) and (entry := _entry(kind, path))
    ]
    return sorted(found, key=lambda e: (list(KINDS).index(e.kind), -e.used, e.path.name))


def left_behind(store: Path) -> list[Path]:
    """What writers that died left half-written (see `abandoned`)."""
    parts = [p for kind in KINDS for p in _listed(store / kind) if _unfinished(p)]
    parts += [p for e in _listed(store / OPEN) for p in _listed(e) if p.suffix == ".tmp"]
    return sorted(p for p in parts if abandoned(p))


def remove(path: Path, unless: Callable[[], bool] = lambda: False) -> bool:
    """Takes an entry away at once, then deletes it: no reader finds half of one. Not when `unless`
    says so while nobody else can put one there; whether it went. FileNotFoundError when somebody
    else was first."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with alone(path.parent):
        if unless():
            return False
        os.rename(path, aside)
    while os.path.lexists(aside):
        with contextlib.suppress(FileNotFoundError):  # another one clears it away as well
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()
    return True


def _listed(folder: Path) -> list[Path]:
    """What stands in a folder; nothing where there is none, or none any more."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(kind: str, path: Path) -> Entry | None:
    with contextlib.suppress(FileNotFoundError):
        return Entry(kind, path, _bytes(path), _used(path))
    return None


def _unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".part"


def _bytes(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def _used(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return (path / SEAL).stat().st_mtime
    return path.stat().st_mtime
