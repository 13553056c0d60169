"""`bvrank convert`: a file of a public data set into rows that train."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bvrank.commands.build import build
from bvrank.data.files import read_rows
from bvrank.data.refusals import check_refused, summarise
from bvrank.errors import ConfigError, RunError
from bvrank.records import Refused
from bvrank.run import write_atomic

OBJECTIVE = {"lists": "irpo", "pairs": "dpo"}


def main(config: dict[str, Any]) -> int:
    """Converts `path` with the converter `from` into `out`; whole or not at all.

    RunError when `out` exists and `force` is false; DataError when too many rows are refused.
    """
    out = _target(config["out"], config["force"])
    converter = build(config["from"], "from", config["trusted"])
    kept: list[dict[str, Any]] = []
    refused: list[Refused] = []
    for where, row in read_rows(_path(config["path"]), config["split"]):
        found = converter.convert(where, row)
        if isinstance(found, Refused):
            refused.append(found)
        else:
            kept.append(found)
    check_refused(len(kept), refused, config["max_refused"], config["path"], setting="max_refused")
    _write(out, kept)
    print(f"{out}: {summarise(len(kept), refused)}")
    for item in refused[:3]:
        print(f"  {item.where}: {item.reason}: {item.detail}")
    print(f"next: {_next(converter.kind, out)}")
    return 0


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"must be a path, got {value!r}", where="path")
    return value


def _target(value: Any, force: bool) -> Path:
    out = Path(_path(value)).expanduser() if isinstance(value, str) else None
    if out is None or not out.name.removesuffix(".gz").endswith(".jsonl"):
        raise ConfigError(
            f"must name a .jsonl or .jsonl.gz file, got {value!r}",
            where="out",
            repair="As in out=lists.jsonl.",
        )
    if out.is_dir():
        raise RunError("is a folder", where=str(out), repair="Name a file.")
    if out.exists() and not force:
        raise RunError("exists", where=str(out), repair="Write over it with force=true.")
    return out


def _write(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if out.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # the same rows give the same bytes
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, data)
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror or error})", where=str(out)) from error


def _next(kind: str, out: Path) -> str:
    """The command to try next; a name that Hydra cannot read stands in quotes inside quotes."""
    plain = all(c.isalnum() or c in "./_-" for c in str(out))
    path = f"data.path={out}" if plain else shlex.quote(f'data.path="{out}"')
    return f"bvrank train objective={OBJECTIVE[kind]} data={kind} {path}"
