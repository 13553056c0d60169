"""Responses as they are kept: one JSON line each, appended the moment they are there.

A log holds every response once, whatever happens to the process: a line is whole or, where the
process died in the middle of it, cut off when the log is opened again. The work that is left is
what the logs do not hold.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from bvrank.errors import DataError
from bvrank.records import BARE, FULL, Message, Mode
from bvrank.run.files import to_json
from bvrank.sampling.faults import OWN

VIEW: dict[Mode, str] = {"thinking": FULL, "nothinking": BARE}
MODES: tuple[Mode, ...] = ("thinking", "nothinking")
Key = tuple[Mode, int, int]  # mode, row, copy
Block = Literal["opened", "unopened"]
T = TypeVar("T", bound="Logged")
AWAY = "judge_"  # before the reason why no verdict came


@dataclass(frozen=True)
class Prompt:
    """A conversation to answer. `row` is its place among the prompts, from 0; `gold` the answer
    that is known to be right, None where none is."""

    row: int
    where: str
    messages: tuple[Message, ...]
    gold: str | None = None


@dataclass(frozen=True)
class Logged:
    """What belongs to the `copy`-th response to prompt `row` in one mode."""

    mode: Mode
    row: int
    copy: int

    @property
    def key(self) -> Key:
        """Unique in a log."""
        return self.mode, self.row, self.copy

    @property
    def away(self) -> bool:
        """Whether it did not come, and may another time: a later line then stands in its place."""
        return False


@dataclass(frozen=True)
class Made(Logged):
    """A response. `end`: why it stopped; `failed` has no text, and `detail` says why.

    `tokens` counts what was generated, the end token included, `trace_tokens` the trace alone; None
    where a server did not say. `logp` (nats) and `ids` are the sampler's own, of a response that
    will be compared with the scorer. `block`: whether a text that closes a think block had `opened`
    it or not (`unopened`), where the sampler has to be told which it is; None of a text that shows
    neither. `model`: the name that a server answered with.
    """

    think: str | None = None
    answer: str | None = None
    closed: bool = True
    end: Literal["stop", "length", "content_filter", "failed"] = "stop"
    tokens: int | None = None
    trace_tokens: int | None = None
    logp: float | None = None
    ids: tuple[int, ...] | None = None
    score: float | None = None
    detail: str = ""
    block: Block | None = None
    model: str | None = None

    @property
    def away(self) -> bool:
        return self.end == "failed"

    @property
    def whole(self) -> bool:
        """Whether it ended by itself, with an answer."""
        return self.end == "stop" and bool((self.answer or "").strip())


@dataclass(frozen=True)
class Judged(Logged):
    """The score of a response; None with a `reason` where it could not be scored."""

    score: float | None = None
    reason: str = ""

    @property
    def away(self) -> bool:
        return self.reason.startswith(AWAY) and self.reason.removeprefix(AWAY) not in OWN


def mended(text: str) -> str:
    """Text that can be written: of half a surrogate pair, which JSON may hold, U+FFFD is left."""
    try:
        text.encode()
    except UnicodeEncodeError:  # UTF-16 also puts halves together that came one by one
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Log:
    """An open log of one process; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        _cut(self._file)

    def add(self, found: Sequence[Any]) -> None:
        """Appends them, dataclasses all; the disk has them when this returns."""
        lines = mended("".join(to_json(_told(item)) + "\n" for item in found)).encode()
        while lines:
            lines = lines[os.write(self._file, lines) :]
        os.fsync(self._file)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        os.close(self._file)


class Shelf:
    """What the logs of a folder hold, by key; only places are in memory, texts are read when they
    are asked for. `away`: the keys of what did not come. DataError for a line that is none of ours,
    or two lines of one key that both came."""

    def __init__(self, paths: Iterable[Path], kind: type[T]) -> None:
        self._kind, self._paths = kind, sorted(paths)
        self._places: dict[Key, tuple[int, int]] = {}
        self.away: set[Key] = set()
        for number, path in enumerate(self._paths):
            for place, item in _read(path, kind):
                self._place(item, (number, place), path)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def settled(self) -> Container[Key]:
        """The keys of what came, and need not be asked for again."""
        return self._places.keys() - self.away if self.away else self._places.keys()

    @property
    def missing(self) -> float:
        """The largest share, over the modes, of what did not come."""
        all_of = Counter(mode for mode, _, _ in self._places)
        away = Counter(mode for mode, _, _ in self.away)
        return max((n / all_of[mode] for mode, n in away.items()), default=0.0)

    def ordered(self) -> Iterator[Key]:
        """Every key, by mode, row and copy."""
        order = {mode: n for n, mode in enumerate(MODES)}
        return iter(sorted(self._places, key=lambda k: (order.get(k[0], 9), *k[1:])))

    def _place(self, item: Logged, spot: tuple[int, int], path: Path) -> None:
        if item.key in self._places and not item.away:
            if item.key not in self.away:
                raise DataError(f"holds {item.key} twice", where=str(path))
            self.away.discard(item.key)
        elif item.key in self._places:
            return  # what came stands, and of two that did not come the first
        elif item.away:
            self.away.add(item.key)
        self._places[item.key] = spot

    def get(self, keys: Iterable[Key]) -> Iterator[Any]:
        """What stands under each of `keys`, in their order."""
        files = [path.open("rb") for path in self._paths]
        try:
            for key in keys:
                number, place = self._places[key]
                files[number].seek(place)
                yield _parsed(files[number].readline(), self._kind)
        finally:
            for file in files:
                file.close()


def _read(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    with path.open("rb") as file:
        place = 0
        for line in file:
            if not line.endswith(b"\n"):
                return  # was being written
            item = _parsed(line, kind)
            if item is None:
                raise DataError(
                    f"byte {place} begins no line of {kind.__name__.lower()} responses",
                    where=str(path), repair="Move the file away: what it held is made again.",
                )  # fmt: skip
            yield place, item
            place += len(line)


def _parsed(line: bytes, kind: type[T]) -> T | None:
    try:
        values: dict[str, Any] = json.loads(line)
        if "ids" in values:
            values["ids"] = tuple(values["ids"])
        return kind(**values)
    except (ValueError, TypeError):
        return None


def _told(item: Any) -> Mapping[str, Any]:
    """Its fields, less those that say nothing."""
    empty = {"detail": "", "reason": ""}
    return {k: v for k, v in asdict(item).items() if v is not None and empty.get(k) != v}


def _cut(file: int) -> None:
    """Takes a last line away that has no end."""
    size = os.fstat(file).st_size
    at = size
    while at:
        start = max(0, at - 65_536)
        block = os.pread(file, at - start, start)
        if (found := block.rfind(b"\n")) >= 0:
            at = start + found + 1
            break
        at = start
    if at < size:
        os.ftruncate(file, at)
