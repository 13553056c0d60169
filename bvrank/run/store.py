"""Entries of the artifact store: one folder per key, sealed when written, verified when read.

<kind>/<key>/...           what the entry holds
<kind>/<key>/sha256.json   the hash of every other file, and that of these hashes
<kind>/.<key>.<...>.part   an entry while it is written, with a lock on `.lock` in it
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bvrank.errors import RunError
from bvrank.run.files import hash_of, sync

SEAL = "sha256.json"
LOCK = ".lock"
HOUR, DAY = 3600.0, 86_400.0  # seconds
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE})  # open files: says nothing of what was opened
OF_THE_SYSTEM = re.compile(r"\(os error \d+\)")  # as Rust's std::io::Error ends


def kept(folder: Path, make: Callable[[], Callable[[Path], Any]]) -> Path:
    """The entry at `folder`: as it lies there when it is whole, else made now.

    `make` does the work and returns what writes its result into an empty folder. A damaged entry
    is named on stderr and replaced; of two processes that make one entry the first to end counts.
    RunError when the store cannot be written, before the work where that can be known.
    """

    def work() -> Callable[[Path], Any]:
        write = make()

        def told(part: Path) -> None:
            with telling(folder):
                write(part)

        return told

    return filled(folder, work)


def filled(folder: Path, make: Callable[[], Callable[[Path], Any]]) -> Path:
    """As `kept`, where what `make` returns works as it writes: it wraps what writes in
    `telling(folder)` itself, and whatever else it raises leaves as it is."""
    if whole(folder):
        return folder
    if os.path.lexists(folder):
        print(f"store: {folder}: {damage(folder)}; it is made again", file=sys.stderr)
    with telling(folder):
        if reason := unwritable(folder):
            raise OSError(reason)
    write = make()
    with _part(folder) as (part, unlock):
        write(part)
        with telling(folder):
            _seal(part)
            _settle(part, folder)
        unlock(folder / LOCK)
    return folder


def whole(folder: Path) -> bool:
    """Whether the entry lies there as it was written; if so, this was a use of it."""
    if damage(folder) is not None:
        return False
    with contextlib.suppress(OSError):  # the day of its last use, for `bvrank store gc`
        os.utime(folder / SEAL)
    return True


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        return f"{SEAL} is missing or torn"
    return None


def unwritable(folder: Path) -> str | None:
    """Why no entry can be made at `folder`; None when one can."""
    standing = next(p for p in folder.absolute().parents if os.path.lexists(p))
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        return f"{standing} is no folder that can be written to"
    return None


def abandoned(part: Path) -> bool:
    """Whether nobody will end what is half-written there: nobody has written to anything in it for
    an hour, and its lock is free, or there is none.

    The lock goes with its process, on NFS with its machine; where a file system knows no locks, it
    takes a day without a write instead, so that a writer that is silent for longer there is not
    seen. Neither does it see a machine whose clock is that far from the file server's.
    """
    quiet = time.time() - _newest(part)
    try:
        handle = os.open(part / LOCK, os.O_RDWR)
    except OSError:  # no folder, or of a writer that holds none: all is written in one go
        return quiet > HOUR
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return quiet > DAY
    finally:
        os.close(handle)
    return quiet > HOUR


def _newest(part: Path) -> float:
    """When something in it was written last; now, if it goes just then."""
    try:
        newest = part.lstat().st_mtime
    except FileNotFoundError:
        return time.time()
    for folder, folders, files in os.walk(part):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                newest = max(newest, os.lstat(os.path.join(folder, name)).st_mtime)
    return newest


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """An empty folder beside the entry with a lock held in it, and what gives the lock back where
    its file is then. Gone afterwards if it is still there, and so are the folders above it that
    were made for it and hold nothing."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    made = [p for p in part.parents if not p.exists()]
    held: list[int] = []

    def unlock(path: Path) -> None:
        while held:
            os.close(held.pop())
        with contextlib.suppress(OSError):
            path.unlink()

    try:
        with telling(folder):
            _make(part)
            held.append(_held(part / LOCK))
            for stale in folder.parent.glob(f".{folder.name}.*"):
                if stale != part and abandoned(stale):
                    _remove(stale)
        yield part, unlock
    finally:
        unlock(part / LOCK)
        _remove(part)
        with contextlib.suppress(OSError):
            for above in made:
                above.rmdir()


def _held(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):  # no locks there: see `abandoned`
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


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
def telling(folder: Path) -> Iterator[None]:
    """Turns what a disk may do to a read or a write into a RunError that names the store. Libraries
    written in Rust (safetensors, tokenizers) raise it as classes of their own."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not OF_THE_SYSTEM.search(str(error)):
            raise
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(
            f"the store cannot be written ({why})", where=str(folder),
            repair="Make room or change permissions, or name another folder with store=.",
        ) from error  # fmt: skip


def _seal(part: Path) -> None:
    files = sorted(p for p in part.rglob("*") if p.is_file() and p != part / LOCK)
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
