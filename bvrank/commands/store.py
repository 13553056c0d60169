"""`bvrank store ls | verify | gc`: what lies in the store of reusable artifacts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least
from bvrank.commands.surroundings import size
from bvrank.errors import ConfigError, RunError
from bvrank.paths import store_dir
from bvrank.run.shelf import KINDS, OPEN, Entry, entries, left_behind, remove
from bvrank.run.store import DAY
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
    yield from (line for _, line in _checked(found))


def _checked(found: Sequence[Entry]) -> Iterator[tuple[Entry, Line]]:
    """Every entry that is still there, with its state."""
    from bvrank.scoring.values import torn_files

    with phase("verifying", max(len(found), 1)) as shown:
        for entry in found:
            problem = entry.problem(torn_files)
            shown.advance(1)
            if not entry.gone:
                yield entry, Line(entry.name, entry.bytes, entry.used, problem or "whole")


def _collected(store: Path, found: Sequence[Entry], asked: Options) -> Iterator[Line]:
    """What goes: damaged entries, what dead writers left, and what was unused for too long. Of
    reference log-probs the torn files go, not the others, which may have cost hours."""
    from bvrank.scoring.values import torn_files

    for entry, line in _checked(found):
        idle = (time.time() - line.used) / DAY
        if asked.unused is not None and idle >= asked.unused:
            told = replace(line, said=f"unused for {idle:.0f} days")
            used = lambda e=entry: e.now_used() > e.used  # noqa: E731
            yield from _gone(entry.path, told, asked, used)
        elif line.said != "whole" and entry.kind != OPEN:
            mended = lambda e=entry: e.problem(torn_files) is None  # noqa: E731
            yield from _gone(entry.path, line, asked, mended)
        elif line.said != "whole":
            for path in torn_files(entry.path):
                yield from _file_gone(store, path, "torn", asked)
    for path in left_behind(store):
        yield from _file_gone(store, path, "left half-written", asked)


def _file_gone(store: Path, path: Path, said: str, asked: Options) -> Iterator[Line]:
    with suppress(FileNotFoundError):
        stat = path.lstat()
        line = Line(str(path.relative_to(store)), stat.st_size, stat.st_mtime, said)
        yield from _gone(path, line, asked)


def _gone(path: Path, line: Line, asked: Options, unless: Callable[[], bool] = lambda: False
          ) -> Iterator[Line]:  # fmt: skip
    """The line of what went, or would go; none where somebody else was first, or has made it whole
    or used it meanwhile."""
    try:
        if asked.dry or remove(path, unless):
            yield line
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"cannot be deleted ({error.strerror or error})", where=str(path),
                       repair="Change its permissions.") from error  # fmt: skip


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
