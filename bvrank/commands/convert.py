"""`bvrank convert`: a file of a public data set into rows that train."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from bvrank.commands.build import build
from bvrank.commands.guessing import hint
from bvrank.commands.words import named
from bvrank.data.converters import Draft, finished
from bvrank.data.files import read_rows
from bvrank.data.grouping import parted
from bvrank.data.refusals import check_refused, summarise
from bvrank.errors import BvrankError, ConfigError, DataError, RunError
from bvrank.records import Refused
from bvrank.run import write_atomic

OBJECTIVE = {"lists": "irpo", "pairs": "dpo"}
Rows = list[dict[str, Any]]


def main(config: dict[str, Any]) -> int:
    """Converts `path` with the converter `from` into `out`; whole or not at all.

    With `test_fraction` a share of the rows goes into a second file beside it; without, `force`
    moves one aside that an earlier conversion left there. RunError when a file exists and `force`
    is false; DataError when too many rows are refused.
    """
    fraction, seed, force = _checked(config)
    out = _target(config["out"], force)
    beside = test_path(out)
    test = _target(str(beside), force) if fraction else None
    _check_apart(config["path"], out, beside)
    converter = build(config["from"], "from", config["trusted"])
    drafts, refused = _drafts(converter, _path(config["path"]), config["split"])
    if not drafts:
        _check([], refused, config)
    train, held = parted(drafts, fraction, seed)
    # What train rows draw from others comes from train rows, so that they tell nothing of test.
    kept = _rows(converter, train, train, refused)
    tested = _rows(converter, held, [*train, *held], refused)
    _check([*kept, *tested], refused, config)
    _check_sides(kept, tested, test)
    stale = beside if not test and _holds(beside, kept) else None
    if stale and not force:
        raise RunError("holds prompts of this file, and looks like its test rows", where=str(stale),
                       repair="Move it aside with force=true, or take another name.")  # fmt: skip
    aside = _write({out: kept} | ({test: tested} if test else {}), stale)
    if aside:
        print(f"{stale}: not of this conversion, is now {aside.name}", file=sys.stderr)
    _tell(out, test, kept, tested, refused)
    print(f"next: {_next(converter.kind, out, test)}")
    return 0


def _holds(path: Path, rows: Rows) -> bool:
    """Whether a file of an earlier conversion has a prompt of `rows`."""
    if not path.is_file():
        return False
    prompts = {json.dumps(row.get("prompt")) for row in rows}
    with suppress(BvrankError):  # not ours to read
        return any(json.dumps(row.get("prompt")) in prompts for _, row in read_rows(str(path)))
    return False


def test_path(out: Path) -> Path:
    """Where test rows go: `lists.jsonl.gz` has `lists.test.jsonl.gz` beside it."""
    stem, _, end = out.name.rpartition(".jsonl")
    return out.with_name(f"{stem}.test.jsonl{end}")


def _drafts(converter: Any, path: str, split: str | None) -> tuple[list[Draft], list[Refused]]:
    read = getattr(converter, "read", None)
    if read and split is not None:
        raise ConfigError("this format has no splits", where="split", repair="Leave it out.")
    drafts: list[Draft] = []
    refused: list[Refused] = []
    for where, row in read(path) if read else read_rows(path, split):
        for found in converter.convert(where, row):
            if isinstance(found, Refused):
                refused.append(found)
            else:
                drafts.append(found)
    return drafts, refused


def _rows(
    converter: Any, drafts: Sequence[Draft], known: Sequence[Draft], refused: list[Refused]
) -> Rows:
    """The rows of `drafts`; those that come to nothing go to `refused`."""
    kept: Rows = []
    for found in finished(converter, drafts, known) if drafts else ():
        if isinstance(found, Refused):
            refused.append(found)
        else:
            kept.append(found)
    return kept


def _check(kept: Rows, refused: Sequence[Refused], config: Mapping[str, Any]) -> None:
    try:
        check_refused(len(kept), refused, config["max_refused"], config["path"],
                      setting="max_refused")  # fmt: skip
    except DataError as error:
        if not kept and (others := hint(config["path"], config["split"])):
            error.repair = others
        raise


def _check_sides(kept: Rows, tested: Rows, test: Path | None) -> None:
    """DataError when all rows of one side were refused."""
    if test and not (kept and tested):
        raise DataError(
            f"no row is left for {'test' if kept else 'train'}", where="test_fraction",
            repair="Set another share, or another seed.",
        )  # fmt: skip


def _tell(
    out: Path, test: Path | None, kept: Rows, tested: Rows, refused: Sequence[Refused]
) -> None:
    print(f"{out}: {summarise(len(kept), refused)}")
    first = {item.reason: item for item in reversed(refused)}  # of each reason the first row
    for item in sorted(first.values(), key=refused.index)[:5]:
        print(f"  {item.where}: {item.reason}: {item.detail}")
    if test:
        print(f"{test}: {len(tested):,} kept, with no dialogue, question or prompt of the former")


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"must be a path, got {value!r}", where="path")
    return value


def _checked(config: Mapping[str, Any]) -> tuple[float, int, bool]:
    """The share for tests, the seed and `force`. ConfigError for these and `max_refused`."""
    most, force = config["max_refused"], config["force"]
    if isinstance(most, bool) or not isinstance(most, int | float) or not 0 <= most <= 1:
        raise ConfigError(f"must be a share from 0 to 1, got {most!r}", where="max_refused")
    if not isinstance(force, bool):
        raise ConfigError(f"must be true or false, got {force!r}", where="force")
    return _fraction(config["test_fraction"]), _seed(config["seed"]), force


def _check_apart(path: Any, *targets: Path) -> None:
    """ConfigError where the file that is read would be written over."""
    with suppress(OSError, ValueError, RuntimeError):
        source = Path(_path(path)).expanduser().resolve()
        if source in (target.resolve() for target in targets):
            raise ConfigError("is the file that is read", where="out", repair="Name another one.")


def _fraction(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(
            f"must be a number from 0 to below 1, got {value!r}",
            where="test_fraction",
            repair="As in test_fraction=0.1.",
        )
    return float(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"must be a whole number, got {value!r}", where="seed")
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


def _write(files: Mapping[Path, Rows], stale: Path | None) -> Path | None:
    """Every file or none: where one cannot be written the others are put back. `stale`, which would
    look like the test rows of what is written, is moved, and its new place returned."""
    before: dict[Path, bytes | None] = {}
    try:
        for out, rows in files.items():
            out.parent.mkdir(parents=True, exist_ok=True)
            old = out.read_bytes() if out.exists() else None
            write_atomic(out, _data(out, rows))
            before[out] = old
        if stale and (out := stale).is_file():
            return stale.rename(_free_name(stale))
    except BaseException as error:
        for written, old in before.items():
            written.unlink() if old is None else write_atomic(written, old)
        if isinstance(error, OSError):
            verb = "moved" if out == stale else "written"
            what = f"cannot be {verb} ({error.strerror or error})"
            repair = "Choose a place that you can write to with out=..."
            raise RunError(what, where=str(out), repair=repair) from error
        raise
    return None


def _free_name(path: Path) -> Path:
    """The first of `<name>.old-1`, `<name>.old-2` and so on that is not taken."""
    names = (path.with_name(f"{path.name}.old-{n}") for n in count(1))
    return next(name for name in names if not os.path.lexists(name))


def _data(out: Path, rows: Iterable[Mapping[str, Any]]) -> bytes:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    # The same rows give the same bytes.
    return gzip.compress(data, mtime=0) if out.suffix == ".gz" else data


def _next(kind: str, out: Path, test: Path | None) -> str:
    """The command to try next."""
    words = [f"bvrank train objective={OBJECTIVE[kind]} data={kind}", named("data.path", out)]
    return " ".join(words + ([named("data.eval_path", test)] if test else []))
