"""Files that are whole or absent, and JSON that every reader accepts.

JSON has no NaN and no infinity. Here they are the strings "NaN", "Infinity" and "-Infinity", which
`float()` turns back into the number, in this module and in the reader's own script alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replaces `path` by `content` so that a reader, or a crash, sees the old or the new file.

    Written beside the target, flushed to disk, renamed over it. Raises OSError; the old file then
    still stands and no temporary one is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON text of `value`; paths and other objects become their `str`."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def from_json(text: str | bytes) -> Any:
    """What `to_json` wrote. Raises ValueError on anything that is not one JSON value."""
    return _restored(json.loads(text))


def read_jsonl(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a JSON-lines file, and how many lines could not be read.

    A line without its newline is a line that was being written: it counts as unreadable. A missing
    file has no lines.
    """
    rows: list[dict[str, Any]] = []
    torn = 0
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines(keepends=True):
            row = _object(line)
            if row is not None:
                rows.append(row)
            elif line.strip():
                torn += 1
    return rows, torn


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        value = from_json(line)
    except (ValueError, RecursionError):  # nested deeper than anything that was written here
        return None
    return value if isinstance(value, dict) else None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if not isinstance(value, float):  # a number of an array library, or something to be named
        return _finite(value.item()) if hasattr(value, "item") else str(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _restored(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable; some file systems cannot, and need not be told."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Has the disk take what was written to a file or, of a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
