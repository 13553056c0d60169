"""Log-probs on disk: files of keys and values, and one value per branch of many rows, both mapped.

A file is MARK, the SHA-256 of the rest, then keys (uint64, ascending) and as many values (float64),
little-endian. It is hashed in passing when it is opened, which reads it but keeps nothing; a lookup
touches only the pages it needs. An .npz would let some flipped bits through, or raise nearly
anything.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from bvrank.run.store import NO_ROOM, alone

MARK = b"bvrank-logps-2\n\0"
HEAD = len(MARK) + 32
MANY = 64  # files from which on they are put together as they are opened


class Values(Sequence[np.ndarray]):
    """float64 [branches] of every row, out of one flat array. `ends` are where the rows end in it;
    `places` (None: all of them) says which of those rows stand here, -1 for one without values."""

    def __init__(self, flat: np.ndarray, ends: np.ndarray, places: np.ndarray | None = None
                 ) -> None:  # fmt: skip
        self.flat, self.ends, self.places = flat, ends, places

    def __len__(self) -> int:
        return len(self.ends if self.places is None else self.places)

    @overload
    def __getitem__(self, at: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, at: slice) -> Values: ...
    def __getitem__(self, at: int | slice) -> np.ndarray | Values:
        if isinstance(at, slice):
            own = np.arange(len(self.ends)) if self.places is None else self.places
            return Values(self.flat, self.ends, own[at])
        place = range(len(self))[at] if self.places is None else int(self.places[at])
        if place < 0:
            return np.zeros(0)
        return np.asarray(self.flat[self.ends[place - 1] if place else 0 : self.ends[place]])

    def at(self, numbers: Sequence[int] | np.ndarray, size: int) -> Values:
        """The same for `size` rows, where these stand at `numbers`; the others have no values."""
        places = np.full(size, -1, np.int64)
        places[np.asarray(numbers, np.int64)] = np.arange(len(self))
        return Values(self.flat, self.ends, places)


class KeyedFiles:
    """All that a folder's files know. `damaged` lists those that are not whole. Of a key that
    stands in several the file that comes first by name counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = _opened(folder)
        self.damaged = [path for path, pair in found.items() if pair is None]
        whole = {path: pair for path, pair in found.items() if pair is not None}
        self._files = list(whole.values())
        if len(whole) > MANY:
            self._files = [self._merged(whole)]

    def look_up(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which keys are known (bool) and their values (0 where unknown)."""
        found, values = np.zeros(len(keys), bool), np.zeros(len(keys))
        for known, stored in self._files:
            at = np.searchsorted(known, keys).clip(max=len(known) - 1)
            new = ~found & (known[at] == keys)
            values[new] = stored[at[new]]
            found |= new
        return found, values

    def add(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Writes one more file; the name is the keys', so of two writers the first counts. OSError
        when the disk does not take it."""
        if not len(keys):
            return
        order = np.argsort(keys)
        pair = _written(self.folder, keys[order], values[order])
        # In memory: a file that stays mapped holds a descriptor, and a fill writes many.
        self._files.append(_unmapped(pair) or (keys[order], values[order]))

    def _merged(self, files: dict[Path, tuple[np.ndarray, np.ndarray]]
                ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """One file of them all. Who has the old ones mapped keeps them until the end."""
        keys = np.concatenate([k for k, _ in files.values()])
        keys, first = np.unique(keys, return_index=True)
        values = np.concatenate([v for _, v in files.values()])[first]
        try:
            with alone(self.folder):
                name = _name(keys)
                pair = _written(self.folder, keys, values)
                for path in files if pair is not None else ():
                    if path.name != name:
                        path.unlink(missing_ok=True)
        except OSError:  # a full or read-only disk: as they are they can be read as well
            pair = None
        return pair or (keys, values)


def _opened(folder: Path) -> dict[Path, tuple[np.ndarray, np.ndarray] | None]:
    """Every file with its content, once more when one went while they were read: somebody had put
    them together."""
    while True:
        paths = sorted(folder.glob("*.values"))
        keep = _unmapped if len(paths) > MANY else lambda pair: pair
        found = {path: keep(read(path)) for path in paths}
        if all(pair is not None or path.exists() for path, pair in found.items()):
            return found


def _unmapped(pair: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """A copy in memory, which holds no file."""
    return None if pair is None else (pair[0].copy(), pair[1].copy())


def read(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The keys and values of a file, mapped, or None when it is not whole: the values are computed
    again."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEAD or (size - HEAD) % 16:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise  # it says nothing of the file
        return None
    digest = hashlib.sha256()
    for block in _blocks(mapped, HEAD):
        digest.update(block)
    if mapped[: len(MARK)] != MARK or mapped[len(MARK) : HEAD] != digest.digest():
        return None
    count = (size - HEAD) // 16
    keys = np.frombuffer(mapped, "<u8", count, HEAD)
    return keys, np.frombuffer(mapped, "<f8", count, HEAD + 8 * count)


def torn_files(folder: Path) -> list[Path]:
    """The files of one reference that are not what was written; one that goes meanwhile is none."""
    return [p for p in sorted(folder.glob("*.values")) if read(p) is None and p.exists()]


def mapped_floats(path: Path, digest: str) -> np.ndarray | None:
    """The float64 of a file whose SHA-256 begins with `digest`; None when it is not that file."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest()[:16] != digest:
                return None
        if not path.stat().st_size:
            return np.zeros(0)
        return np.memmap(path, "<f8", mode="r")
    except (OSError, ValueError):
        return None


def _written(folder: Path, keys: np.ndarray, values: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    content = [keys.astype("<u8").tobytes(), values.astype("<f8").tobytes()]
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    path = folder / _name(keys)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([MARK, digest.digest(), *content])
        if read(path) is None:  # else another run was first
            os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return read(path)


def _name(keys: np.ndarray) -> str:
    return f"{hashlib.sha256(keys.astype('<u8').tobytes()).hexdigest()[:24]}.values"


def _blocks(mapped: mmap.mmap, start: int, size: int = 1 << 20) -> Iterable[memoryview]:
    view = memoryview(mapped)
    at: Iterator[int] = iter(range(start, len(mapped), size))
    return (view[i : i + size] for i in at)
