"""What data sets and models are, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def fingerprint(node: Mapping[str, Any]) -> str:
    """Hash of every local file that a node names under a key `path`, `*_path` or `file`; files of a
    folder count by name and content. Hub ids and missing files add nothing."""
    digest = hashlib.sha256()
    for path in _paths(node):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''}|{content}\n".encode())
    return digest.hexdigest()[:16]


def _paths(node: Mapping[str, Any]) -> Iterator[Path]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _paths(value)
        elif key.endswith(("path", "file")) and isinstance(value, str) and _there(value):
            yield Path(value).expanduser()


def _there(path: str) -> bool:
    if not path.strip():  # would be the folder one stands in
        return False
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a NUL: refused when read
        return False
