"""`bvrank store ls | verify | gc`: what lies in the store of reusable artifacts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least
from bvrank.commands.surroundings import size
from bvrank.errors import ConfigError, RunError
from bvrank.paths import store_dir
from bvrank.run.shelf import DAY, KINDS, OPEN, Entry, entries, left_behind, remove
from bvrank.tracking.progress import phase


@dataclass(frozen=True)
class Options:
    """The keys of conf/store.yaml; the comments there say what each means."""

    action: Literal["ls", "verify", "gc"]
    store: str | None
    unused: float | None
    dry: bool
    json: bool

    def __post_init__(self) -> None:
        at_least("unused", self.unused, 0.0)
        for key, value in (("unused", self.unused is not None), ("dry", self.dry)):
            if value and self.action != "gc":
                raise ConfigError("is read by gc alone", where=key, repair="Write bvrank store gc.")


@dataclass(frozen=True)
class Line:
    """An entry, or what a dead writer left, with what is to be said of it."""

    name: str
    bytes: int
    used: float
    said: str


def main(config: dict[str, Any]) -> int:
    """Lists, verifies or cleans up; 1 when verify finds damage. RunError when gc cannot delete."""
    asked: Options = construct(Options, config, "")
    store = store_dir(asked.store)
    if not store.is_dir() and asked.store:
        raise ConfigError(f"{store} is no folder", where="store")
    found = entries(store)
    lines = {"ls": _listed, "verify": _verified, "gc": _collected}[asked.action](
        store, found, asked
    )
    shown = list(lines)
    if asked.json:
        print(json.dumps([vars(line) for line in shown], indent=1))
    else:
        _show(store, found, shown, asked)
    return int(asked.action == "verify" and any(line.said != "whole" for line in shown))


def _listed(store: Path, found: Sequence[Entry], asked: Options) -> Iterator[Line]:
    yield from (Line(e.name, e.bytes, e.used, KINDS[e.kind]) for e in found)


def _verified(store: Path, found: Sequence[Entry], asked: Options) -> Iterator[Line]:
    from bvrank.scoring.values import torn_files

    with phase("verifying", max(len(found), 1)) as shown:
        for entry in found:
            problem = entry.problem(torn_files)
            shown.advance(1)
            yield Line(entry.name, entry.bytes, entry.used, problem or "whole")


def _collected(store: Path, found: Sequence[Entry], asked: Options) -> Iterator[Line]:
    """What goes: damaged entries, what dead writers left, and what was unused for too long. Of
    reference log-probs the torn files go, not the others, which may have cost hours."""
    from bvrank.scoring.values import torn_files

    for entry, line in zip(found, _verified(store, found, asked), strict=True):
        idle = (time.time() - line.used) / DAY
        if asked.unused is not None and idle >= asked.unused:
            yield _gone(entry.path, replace(line, said=f"unused for {idle:.0f} days"), asked)
        elif line.said != "whole" and entry.kind != OPEN:
            yield _gone(entry.path, line, asked)
        elif line.said != "whole":
            yield from (_file_gone(store, p, "torn", asked) for p in torn_files(entry.path))
    yield from (_file_gone(store, p, "left half-written", asked) for p in left_behind(store))


def _file_gone(store: Path, path: Path, said: str, asked: Options) -> Line:
    stat = path.lstat()
    line = Line(str(path.relative_to(store)), stat.st_size, stat.st_mtime, said)
    return _gone(path, line, asked)


def _gone(path: Path, line: Line, asked: Options) -> Line:
    if asked.dry:
        return line
    try:
        remove(path)
    except FileNotFoundError:  # somebody else was first
        pass
    except OSError as error:
        raise RunError(f"cannot be deleted ({error.strerror or error})", where=str(path),
                       repair="Change its permissions.") from error  # fmt: skip
    return line


def _show(store: Path, found: Sequence[Entry], shown: Sequence[Line], asked: Options) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    table = Table("entry", "size", "last used", HEADS[asked.action],
                  box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)  # fmt: skip
    table.columns[1].justify = "right"
    for line in shown:
        style = "red" if asked.action == "verify" and line.said != "whole" else None
        cells = (line.name, size(line.bytes), _ago(line.used), line.said)
        table.add_row(*map(Text, cells), style=style)
    if shown:
        console.print(table)
    total = size(sum(line.bytes for line in shown))
    told = {
        "ls": f"{_counted(len(found))}, {total}",
        "verify": f"{sum(x.said == 'whole' for x in shown)} of {_counted(len(found))} whole",
        "gc": f"{_counted(len(shown))} {'would go' if asked.dry else 'deleted'}, {total}",
    }[asked.action]
    console.print(f"{store}: {told}", markup=False, soft_wrap=True)


def _counted(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"


HEADS = {"ls": "what", "verify": "state", "gc": "why"}


def _ago(when: float) -> str:
    days = (time.time() - when) / DAY
    return "today" if days < 1 else f"{days:.0f} days ago"
