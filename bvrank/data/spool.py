"""Records that wait on disk: what is remembered of each is its place."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from bvrank.records import Candidate, Example, Message, Refused

T = TypeVar("T", Example, Refused)


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
        self._file.write(json.dumps(asdict(record)).encode() + b"\n")
        self._end = self._file.tell()
        return place

    def at(self, place: int) -> T:
        """The record that stands there."""
        self._file.seek(place)
        found: T = _record(json.loads(self._file.readline()))
        return found

    def __iter__(self) -> Iterator[T]:
        """All of them, as they were added."""
        place = 0
        while place < self._end:
            record = self.at(place)
            place = self._file.tell()
            yield record


def _record(values: dict[str, Any]) -> Any:
    """What `asdict` was given."""
    if "candidates" not in values:
        return Refused(**values)
    shown = values["shown"]
    return Example(
        values["where"], tuple(Message(**m) for m in values["prompt"]),
        tuple(Candidate(**c) for c in values["candidates"]),
        None if shown is None else tuple(shown),
    )  # fmt: skip
