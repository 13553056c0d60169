"""What data sets and models are, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MARKS = ("dataset_info.json", "state.json", "dataset_dict.json", "config.json",
         "adapter_config.json")  # fmt: skip


def fingerprint(node: Mapping[str, Any]) -> str:
    """Hash of every local file that a node names under a key `path`, `*_path` or `file`; files of a
    folder count by name and content. Hub ids, missing files and what is no file (a pipe, a device)
    add nothing."""
    digest = hashlib.sha256()
    for path in _paths(node):
        files = _files(path) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''}|{content}\n".encode())
    return digest.hexdigest()[:16]


def all_local(node: Mapping[str, Any]) -> bool:
    """Whether everything that a node names under such a key is a file or folder here, so that
    `fingerprint` says all there is to its content."""
    for key, value in node.items():
        if isinstance(value, Mapping) and not all_local(value):
            return False
        if key.endswith(("path", "file")) and isinstance(value, str) and not _there(value):
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
        elif key.endswith(("path", "file")) and isinstance(value, str) and _there(value):
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
