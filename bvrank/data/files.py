"""Rows out of files, folders and the hub: jsonl, json, csv, tsv and parquet, each also .gz.

A row comes with its address, `name.jsonl:12`: the line, or the row where a format has no lines.
The format is read off the name and off the first bytes; where they disagree the bytes win.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from bvrank.data.hub import hub_rows, saved_rows
from bvrank.data.lines import guarded, numbered
from bvrank.errors import DataError, did_you_mean

Row = tuple[str, dict[str, Any]]
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def read_rows(path: str | Path, split: str | None = None) -> Iterator[Row]:
    """Yields (where, row) in file order; jsonl, csv and parquet are streamed.

    `path` is a file, a folder that `datasets.save_to_disk` wrote, or a hub id; `split` chooses one
    where those hold several. DataError when the file is missing, damaged or of no known format.
    """
    place = standing(path)
    if place is None:
        return hub_rows(str(path), split)
    if place.is_dir():
        return saved_rows(place, split)
    if split is not None:
        raise DataError(
            f"a single file has no split '{split}'", where=str(path), repair="Leave the split out."
        )
    return guarded(place, _file_rows)


def standing(path: str | Path) -> Path | None:
    """The file or folder that `path` names; None for a hub id. DataError when it is missing, or no
    file but a pipe or a device."""
    place = Path(path).expanduser()
    if not place.exists():
        if not _looks_like_path(str(path)):
            return None
        raise DataError("no such file", where=str(path), repair=_siblings(place))
    if not place.is_file() and not place.is_dir():
        raise DataError(
            "is a pipe or a device, not a file", where=str(path),
            repair="Write the rows to a file first: they are read more than once.",
        )  # fmt: skip
    return place


def counted(path: Any) -> int | None:
    """Lines of a plain jsonl file; None of anything else, whose rows only reading counts."""
    place = Path(path).expanduser() if isinstance(path, str | Path) else None
    if place is None or place.suffix not in (".jsonl", ".ndjson") or not place.is_file():
        return None
    with place.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _looks_like_path(text: str) -> bool:
    name = text.removesuffix(".gz")
    return (
        text.startswith((".", "/", "~"))
        or "\\" in text
        or text.count("/") != 1
        or Path(name).suffix in SUFFIXES
        or name != text
        or Path(text).parent.is_dir()
    )


def _siblings(place: Path) -> str:
    folder = place.parent
    if not folder.is_dir():
        return f"The folder {folder} does not exist either."
    names = [p.name for p in sorted(folder.iterdir()) if p.is_dir() or _format(p)][:50]
    return did_you_mean(place.name, names) or "The folder holds no data file."


def _format(place: Path) -> str | None:
    return SUFFIXES.get(Path(place.name.removesuffix(".gz")).suffix.lower())


def _file_rows(stream: IO[bytes], place: Path) -> Iterator[Row]:
    start = stream.peek(512) if hasattr(stream, "peek") else b""
    kind = _sniffed(_format(place), start[:512], place)
    yield from READERS[kind](stream, place)


def _sniffed(named: str | None, start: bytes, place: Path) -> str:
    """The format: by its first bytes where they are telling, else by its name."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            "is UTF-16, not UTF-8",
            where=str(place),
            repair=f"Convert it: iconv -f utf-16 -t utf-8 {place.name} > utf8_{place.name}",
        )
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:4] == b"PAR1" or named == "parquet":
        return "parquet"
    if named == "jsonl" and _begins_an_array(text):
        return "json"
    if named is not None:
        return named
    if text[:1] in (b"{", b"["):
        return "json"
    raise DataError(
        "has no known format",
        where=str(place),
        repair="Known: " + ", ".join(SUFFIXES) + ", each also with .gz.",
    )


def _begins_an_array(text: bytes) -> bool:
    """Whether the first line opens a JSON array that it does not close."""
    line, end, _ = text.partition(b"\n")
    if not end or not line.startswith(b"["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _jsonl(stream: Iterable[bytes], place: Path) -> Iterator[Row]:
    for number, line in numbered(stream, place):
        if not line.strip():
            continue
        where = f"{place.name}:{number}"
        yield where, _object(_parsed(line, where), where)


def _json(stream: IO[bytes], place: Path) -> Iterator[Row]:
    """A JSON array, an object with one list of objects, or lines of JSON that are misnamed."""
    lines = list(numbered(stream, place))
    text = "".join(line for _, line in lines)
    if not text.strip():
        return
    try:
        value = _loads(text)
    except ValueError as error:
        if getattr(error, "msg", "") == "Extra data":
            yield from _jsonl((line.encode() for _, line in lines), place)
            return
        raise _broken(error, place.name, getattr(error, "lineno", None)) from error
    for number, row in enumerate(_array(value, place), start=1):
        where = f"{place.name}:{number}"
        yield where, _object(row, where)


def _array(value: Any, place: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list)}
        if len(lists) == 1:
            return next(iter(lists.values()))
        found = f"an object with {len(lists)} lists ({', '.join(map(str, lists)) or 'none'})"
    else:
        found = _kind(value)
    raise DataError(
        f"is {found}, not an array of rows",
        where=str(place),
        repair="Write an array of objects, or one object per line (.jsonl).",
    )


def _csv(stream: IO[bytes], place: Path, delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # a trace easily passes the default of 131,072 characters
    reader = csv.reader((t for _, t in numbered(stream, place)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{place.name}:{line}", reader.line_num + 1
            if header is None:
                header = _header(cells, where)
            elif cells:
                if len(cells) != len(header):
                    what = f"{len(cells)} cells under {len(header)} column names"
                    raise DataError(what, where=where, repair="Quote cells that hold commas.")
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"is no csv ({error})", where=f"{place.name}:{line}") from error


def _header(cells: list[str], where: str) -> list[str]:
    if len(set(cells)) != len(cells):
        raise DataError(f"column names repeat: {', '.join(cells)}", where=where)
    return cells


def _tsv(stream: IO[bytes], place: Path) -> Iterator[Row]:
    return _csv(stream, place, "\t")


def _parquet(stream: IO[bytes], place: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        zipped = isinstance(stream, io.BufferedReader) and isinstance(stream.raw, gzip.GzipFile)
        file = pq.ParquetFile(io.BytesIO(stream.read()) if zipped else stream)
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{place.name}:{number}", row
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(
            f"is no readable parquet file ({str(error).splitlines()[0]})", where=str(place)
        ) from error


READERS = {"jsonl": _jsonl, "json": _json, "csv": _csv, "tsv": _tsv, "parquet": _parquet}


def _loads(text: str) -> Any:
    """JSON to values. NaN and Infinity become floats: the row that holds one is refused later."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _parsed(line: str, where: str) -> Any:
    try:
        return _loads(line)
    except ValueError as error:
        raise _broken(error, where, None) from error


def _broken(error: ValueError, where: str, line: int | None) -> DataError:
    column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    return DataError(
        f"is no valid JSON: {str(getattr(error, 'msg', error)).removesuffix(' at')}{column}",
        where=f"{where}:{line}" if line else where,
        repair="Repair or delete that line.",
    )


def _object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise DataError(
        f"{_kind(value)} where an object is needed",
        where=where,
        repair='A row is one object, {"prompt": ..., ...}; an array of objects belongs into .json.',
    )


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
