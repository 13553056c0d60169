"""What data sets and models are, by content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MARKS = ("dataset_info.json", "state.json", "dataset_dict.json", "config.json",
         "adapter_config.json")  # fmt: skip
FILES = ("path", "file", "reference", "qrels")  # ends of the keys that may name one
SETTLED = 2_000_000_000  # nanoseconds after the last write to a file


def fingerprint(node: Mapping[str, Any]) -> str:
    """Hash of every local file that a node names under a key of FILES or `*_path`; files of a
    folder count by name and content. Hub ids, missing files and what is no file (a pipe, a device)
    add nothing."""
    digest = hashlib.sha256()
    for path in _paths(node):
        files = _files(path) if path.is_dir() else [path]
        for file in files:
            content = _content(file)
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''}|{content}\n".encode())
    return digest.hexdigest()[:16]


_known: dict[Path, tuple[tuple[int, ...], str]] = {}


def _content(file: Path) -> str:
    """The hash of a file. One that this process has read already, and that has not been written to
    since by the account of the file system, is not read again; nor is that believed of a file that
    was written a moment before it was read: clocks of file systems tick."""
    before = _state(file)
    state, content = _known.get(file, (None, ""))
    if state == before:
        return content
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - max(before[-2:]) > SETTLED and _state(file) == before:
        _known[file] = before, content
    return content


def _state(file: Path) -> tuple[int, ...]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def contents(node: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The hash of every local file or folder that a node names, by its dotted key."""
    found: dict[str, str] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found |= contents(value, f"{prefix}{key}.")
        elif next(_paths({key: value}), None):
            found[f"{prefix}{key}"] = fingerprint({key: value})
    return found


def all_local(node: Mapping[str, Any]) -> bool:
    """Whether everything that a node names under such a key is a file or folder here, so that
    `fingerprint` says all there is to its content."""
    for key, value in node.items():
        if isinstance(value, Mapping) and not all_local(value):
            return False
        if key.endswith(FILES) and isinstance(value, str) and not _there(value):
            return False
    return True


def _files(folder: Path) -> list[Path]:
    """All of a saved data set or model; the first floor of any other, which may be a home."""
    saved = any((folder / mark).is_file() for mark in MARKS)
    return sorted(p for p in (folder.rglob("*") if saved else folder.glob("*")) if p.is_file())


def _paths(node: Mapping[str, Any]) -> Iterator[Path]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _paths(value)
        elif key.endswith(FILES) and isinstance(value, str) and _there(value):
            yield Path(value).expanduser()


def _there(path: str) -> bool:
    """Whether it is a file or a folder: to open a pipe may wait for ever."""
    if not path.strip():  # would be the folder one stands in
        return False
    try:
        place = Path(path).expanduser()
        return place.is_file() or place.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a NUL: refused when read
        return False
