"""Records that wait on disk: what is remembered of each is its place."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Spool(Generic[T]):
    """A file without a name in the folder for temporary ones ($TMPDIR): it is gone with this
    object, or with the process. OSError when the disk is full."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._end = 0

    def add(self, record: T) -> int:
        """Appends a record; where it stands."""
        place = self._file.seek(self._end)
        pickle.dump(record, self._file, pickle.HIGHEST_PROTOCOL)
        self._end = self._file.tell()
        return place

    def at(self, place: int) -> T:
        """The record that stands there."""
        self._file.seek(place)
        found: T = pickle.load(self._file)
        return found

    def __iter__(self) -> Iterator[T]:
        """All of them, as they were added."""
        place = 0
        while place < self._end:
            record = self.at(place)
            place = self._file.tell()
            yield record
