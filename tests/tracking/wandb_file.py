"""Reads a .wandb file: LevelDB's log format with a header of its own, each record a protobuf."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, WHOLE, FIRST, LAST = 32768, 7, 1, 2, 4


def records(path: Path) -> list[Any]:
    """The protobuf records of a file."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(data) for data in _chunks(path.read_bytes())]


def history(path: Path) -> list[dict[str, Any]]:
    """What was logged, row by row."""
    found = [r.history for r in records(path) if r.WhichOneof("record_type") == "history"]
    return [{_key(i): json.loads(i.value_json) for i in h.item} for h in found]


def run_of(path: Path) -> Any:
    """The record that says which run it is."""
    return next(r.run for r in records(path) if r.WhichOneof("record_type") == "run")


def config_of(path: Path) -> dict[str, Any]:
    return {i.key: json.loads(i.value_json) for i in run_of(path).config.update}


def summary_of(path: Path) -> dict[str, Any]:
    """Every key that was put into the summary, with its last value."""
    found: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "summary":
            found |= {_key(i): json.loads(i.value_json) for i in record.summary.update}
    return found


def files(run: Path) -> list[Path]:
    """The .wandb files of a run folder, oldest first; one per session."""
    return sorted(p for p in (run / "wandb").glob("*run-*/*.wandb") if p.parent.is_dir())


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _chunks(content: bytes) -> Iterator[bytes]:
    at, parts = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""
