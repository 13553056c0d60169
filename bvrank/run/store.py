"""Entries of the artifact store: one folder per key, sealed when written, verified when read.

<kind>/<key>/...           what the entry holds
<kind>/<key>/sha256.json   the hash of every other file, and that of these hashes
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bvrank.errors import BvrankError, RunError
from bvrank.run.files import hash_of, sync

SEAL = "sha256.json"
STALE = 86_400.0  # seconds after which what a killed process left half-written is removed


def kept(folder: Path, make: Callable[[], Callable[[Path], Any]]) -> Path:
    """The entry at `folder`: as it lies there when it is whole, else made now.

    `make` does the work and returns what writes its result into an empty folder. A damaged entry
    is named on stderr and replaced; of two processes that make one entry the first to end counts.
    RunError when the store cannot be written, before the work where that can be known.
    """
    problem = damage(folder)
    if problem is None:
        with contextlib.suppress(OSError):  # the day of its last use, for `bvrank store gc`
            os.utime(folder / SEAL)
        return folder
    if os.path.lexists(folder):
        print(f"store: {folder}: {problem}; it is made again", file=sys.stderr)
    _check_place(folder)
    write = make()
    with _told(folder), _part(folder) as part:
        write(part)
        _seal(part)
        _settle(part, folder)
    return folder


def damage(folder: Path) -> str | None:
    """Names the first file of an entry that is missing or altered; None when it is whole."""
    try:
        sealed = json.loads((folder / SEAL).read_text("utf-8"))
        hashes: dict[str, str] = sealed["files"]
        if sealed["sha256"] != _hash_of(hashes):
            return f"{SEAL} is not what was written"
        for name, expected in hashes.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if hash_of(folder / name) != expected:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{SEAL} is missing or torn"
    return None


def _check_place(folder: Path) -> None:
    with _told(folder):
        standing = next(p for p in folder.absolute().parents if os.path.lexists(p))
        if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
            raise OSError(f"{standing} is no folder that can be written to")


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """An empty folder beside the entry, gone afterwards if it is still there, and so are the
    folders above it that were made for it and hold nothing."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    made = [p for p in part.parents if not p.exists()]
    _make(part)
    try:
        for stale in folder.parent.glob(f".{folder.name}.*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - stale.stat().st_mtime > STALE:
                    _remove(stale)
        yield part
    finally:
        _remove(part)
        with contextlib.suppress(OSError):
            for above in made:
                above.rmdir()


def _make(part: Path) -> None:
    """Again when somebody removes an empty folder above it just then."""
    for left in reversed(range(10)):
        try:
            part.mkdir(parents=True)
            return
        except FileNotFoundError:
            if not left:
                raise


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turns what a disk may do to a write into a RunError: libraries raise classes of their own."""
    try:
        yield
    except BvrankError:
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(
            f"the store cannot be written ({why})", where=str(folder),
            repair="Make room or change permissions, or name another folder with store=.",
        ) from error  # fmt: skip


def _seal(part: Path) -> None:
    files = sorted(p for p in part.rglob("*") if p.is_file())
    hashes = {str(p.relative_to(part)): hash_of(p) for p in files}
    text = json.dumps({"files": hashes, "sha256": _hash_of(hashes)}, indent=1)
    (part / SEAL).write_text(text, encoding="utf-8")
    for path in [*files, part / SEAL, part]:
        sync(path)


def _settle(part: Path, folder: Path) -> None:
    """Renames `part` to its place unless a whole entry came to stand there meanwhile. A whole
    entry is never replaced: somebody may be reading it."""
    aside = part.with_suffix(".old")
    with alone(folder.parent):
        if damage(folder) is None:
            return
        if os.path.lexists(folder):
            os.rename(folder, aside)
        os.rename(part, folder)
    _remove(aside)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a lock on `folder` itself; a file system that knows no locks lets everybody in."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _hash_of(hashes: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
