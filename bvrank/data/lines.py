"""Bytes and numbered lines out of a file that may be gzipped, with what can go wrong told."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from bvrank.errors import DataError, did_you_mean

T = TypeVar("T")


def read_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """(where, line) of a text file, without blank lines; for formats that no row reader knows."""
    place = Path(path).expanduser()
    if not place.is_file():
        what = "is no file" if place.exists() else "no such file"
        names = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        raise DataError(what, where=str(path), repair=did_you_mean(place.name, names[:50]))
    return guarded(place, _filled_lines)


def _filled_lines(stream: Iterable[bytes], place: Path) -> Iterator[tuple[str, str]]:
    for number, line in numbered(stream, place):
        if line.strip():
            yield f"{place.name}:{number}", line.rstrip("\r\n")


def guarded(place: Path, read: Callable[[IO[bytes], Path], Iterator[T]]) -> Iterator[T]:
    """What `read` yields of a file, with what the system or gzip may raise made a DataError."""
    seen = 0
    try:
        with place.open("rb") as raw:
            for item in read(_unzipped(raw), place):
                seen += 1
                yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the gzip stream is cut or damaged after {seen:,} rows ({error})",
            where=str(place),
            repair=f"Fetch or compress it again; `gzip -t {place.name}` checks it.",
        ) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(place)) from error
    if not seen:
        raise DataError("holds no rows", where=str(place), repair="Name a file with rows in it.")


def _unzipped(raw: IO[bytes]) -> IO[bytes]:
    """The stream itself, or what is gzipped in it: by its first bytes, whatever its name."""
    head = raw.read(2)
    raw.seek(0)
    return io.BufferedReader(gzip.GzipFile(fileobj=raw)) if head == b"\x1f\x8b" else raw


def numbered(stream: Iterable[bytes], place: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines as text. Only "\\n" ends a line: U+2028 and its like may stand in JSON."""
    offset = 0
    for number, raw in enumerate(stream, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            at = offset + len(raw) - len(line) + error.start
            raise DataError(
                f"is not UTF-8: byte 0x{line[error.start]:02x} at offset {at}",
                where=f"{place.name}:{number}",
                repair="If it is Latin-1: iconv -f latin1 -t utf-8 "
                f"{place.name} > utf8_{place.name}",
            ) from error
        offset += len(raw)
