"""The files of sampling: pairs as parquet and as jsonl, and the hashes of everything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from bvrank.run.files import hash_of, sync, to_json, write_atomic

Format = Literal["parquet", "jsonl"]
SUMS = "SHA256SUMS"
PART = 1000  # rows that are written together


def write_pairs(folder: Path, rows: Iterable[Mapping[str, Any]], formats: Sequence[Format], *,
                lists: bool, messages: bool) -> list[Path]:  # fmt: skip
    """pairs.parquet and pairs.jsonl, each whole or not at all; the files. `lists`: sides are lists
    of {think, answer}; `messages`: prompts are lists of {role, content}."""
    finals = [folder / f"pairs.{form}" for form in formats]
    parts = [p.with_name(f".{p.name}.part") for p in finals]
    with ExitStack() as open_:
        writers = [
            open_.enter_context(_WRITERS[form](part, lists, messages))
            for form, part in zip(formats, parts, strict=True)
        ]
        waiting: list[Mapping[str, Any]] = []
        for row in rows:
            if messages and isinstance(row["prompt"], str):
                row = {**row, "prompt": [{"role": "user", "content": row["prompt"]}]}
            waiting.append(row)
            if len(waiting) == PART:
                for writer in writers:
                    writer.add(waiting)
                waiting = []
        for writer in writers:
            writer.add(waiting)
    for part, final in zip(parts, finals, strict=True):
        sync(part)
        os.replace(part, final)
    return finals


def write_sums(folder: Path) -> Path:
    """SHA256SUMS of every file of the folder that stays as it is: `sha256sum -c SHA256SUMS`."""
    changing = {"lock", "manifest.json", "summary.json", SUMS}
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in changing)
    kept = [p for p in files if not p.name.startswith(".")]
    write_atomic(folder / SUMS, "".join(f"{hash_of(p)}  {p.name}\n" for p in kept))
    return folder / SUMS


def damaged(folder: Path) -> list[str]:
    """The names of files that are gone, or are not what SHA256SUMS says."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [SUMS]
    named = [line.partition("  ") for line in lines]
    return [name for digest, _, name in named if not _is(folder / name, digest)]


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hash_of(path) == digest


class _Jsonl:
    def __init__(self, path: Path, lists: bool, messages: bool) -> None:
        self._file = path.open("w", encoding="utf-8")

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.writelines(to_json(row) + "\n" for row in rows)

    def __enter__(self) -> _Jsonl:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, lists: bool, messages: bool) -> None:
        import pyarrow.parquet as pq

        self._schema = _schema(lists, messages)
        self._file: Any = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        self._file.write_table(pa.Table.from_pylist([dict(r) for r in rows], schema=self._schema))

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()


def _schema(lists: bool, messages: bool) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    side = pa.struct([("think", text), ("answer", text)])
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    sides = pa.list_(side) if lists else side
    return pa.schema([
        ("prompt", turns if messages else text), ("view", text), ("chosen", sides),
        ("rejected", sides), ("chosen_score", pa.float64()), ("rejected_score", pa.float64()),
        ("row", number), ("chosen_copy", number), ("rejected_copy", number),
    ])  # fmt: skip


_WRITERS: dict[str, Any] = {"jsonl": _Jsonl, "parquet": _Parquet}
