"""`bvrank lab`: an enumerable reasoning model, and every figure of the theory on it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.build import construct
from bvrank.commands.outcome import write_outcome
from bvrank.commands.settings import check_place
from bvrank.errors import RunError
from bvrank.lab.needs import check_memory
from bvrank.lab.options import Settings
from bvrank.lab.result import PAGE, Result, key, read_result, write_result
from bvrank.lab.tables import Table, tables
from bvrank.run import RunFolder, is_run, open_run, run_name, write_atomic
from bvrank.run.folder import GO_ON, check_outputs, told
from bvrank.run.record import read_manifest

ON_SCREEN = ("checks", "alphas", "arms", "bound")  # of the terminal; the page has all tables


@dataclass(frozen=True)
class Place:
    """Where the folder is, and what becomes of an older one."""

    force: bool
    name: str | None
    outputs: str

    def __post_init__(self) -> None:
        check_place(self.name, self.outputs)


@dataclass(frozen=True)
class Request:
    """The config, checked. `kept` is what of it decides a figure: all but where folders go, and
    how many cores work."""

    kept: dict[str, Any]
    settings: Settings
    place: Place
    name: str

    @property
    def outputs(self) -> Path:
        """What the folder lies in."""
        return Path(self.place.outputs).expanduser()


def main(config: dict[str, Any]) -> int:
    """Measures, or finds it finished; prints the tables. 1 when a check does not hold."""
    asked = request(config)
    with _opened(asked) as run:
        skipped, folder = run.finished, run.path
        if skipped:
            print(f"{folder}: finished before, nothing ran (force=true measures again)",
                  file=sys.stderr)  # fmt: skip
        else:
            _measure(asked, run)
    result = read_result(folder)
    if not (folder / PAGE).is_file():
        _draw(folder, result)
    _show(result)
    print(f"\npage: {folder / PAGE}")
    status = "skipped" if skipped else "done"
    write_outcome({"status": status, "headline": _final(result), "folder": str(folder)})
    return 0 if result.holds else 1


def request(config: Mapping[str, Any]) -> Request:
    """ConfigError names the first misfit."""
    names = Place.__dataclass_fields__
    settings: Settings = construct(
        Settings, {k: v for k, v in config.items() if k not in names}, ""
    )
    place: Place = construct(Place, {k: config[k] for k in names}, "")
    kept = {k: v for k, v in config.items() if k != "threads"}
    shape = settings.shape
    name = place.name or run_name(kept, objective="lab", data=f"{shape.alphabet}x{shape.length}")
    return Request(kept, settings, place, name)


def _opened(asked: Request) -> RunFolder:
    """The folder. What stopped is measured again, and so is what was finished and is damaged."""
    folder, force = asked.outputs / asked.name, asked.place.force
    with told(folder):
        there = is_run(folder) and not force
        finished = there and read_manifest(folder).get("status") == "finished"
        lost = finished and _lost(folder)
    if lost or not finished:
        check_outputs(asked.outputs)
        check_memory(asked.settings)
    run = open_run(asked.outputs, asked.name, asked.kept, resume=there, again=lost, force=force)
    run.go_on = GO_ON["lab"]
    for note in run.notes:
        print(note, file=sys.stderr)
    return run


def _lost(folder: Path) -> bool:
    """Whether what was found can no longer be read; says so."""
    try:
        read_result(folder)
    except RunError as error:
        print(f"{folder}: {error.what}; measured again", file=sys.stderr)
        return True
    return False


def _measure(asked: Request, run: RunFolder) -> None:
    result = _result(asked.settings)
    with told(run.path):
        write_result(run.path, result)
    _draw(run.path, result)
    run.finish({"final": _final(result)})


def _draw(folder: Path, result: Result) -> None:
    from bvrank.lab.page import page

    with told(folder):
        write_atomic(folder / PAGE, page(result))


def _result(settings: Settings) -> Result:
    from bvrank.lab.bound import unchecked
    from bvrank.lab.check import worst
    from bvrank.lab.runs import Runs, runs, stretches
    from bvrank.lab.study import studied
    from bvrank.tracking.progress import phase

    with phase("policies", settings.worlds * len(settings.distances)) as shown:
        cells = studied(settings, shown.advance)
    train = settings.train
    found = Runs(None, {}, [unchecked("nothing was trained (train.seeds=0)")])
    if train.seeds:
        work = train.steps * len(train.rules) * len(stretches(settings))
        with phase("training", work) as shown:
            found = runs(settings, shown.advance)
    arrays = {key(c.figures, name): value for c in cells for name, value in c.arrays.items()}
    checks = worst([*(check for c in cells for check in c.checks), *found.checks])
    return Result(_decisive(settings), [c.figures for c in cells], checks, found.figures,
                  arrays | found.arrays)  # fmt: skip


def _decisive(settings: Settings) -> dict[str, Any]:
    """All but how many cores work, of which no figure depends."""
    return {k: v for k, v in asdict(settings).items() if k != "threads"}


def _final(result: Result) -> dict[str, float]:
    """Largest violations by theorem, and the mean alpha*."""
    checked = [c for c in result.checks if not c.why]
    found = {f"violation/{c.theorem or 'model'}": 0.0 for c in checked}
    for c in checked:
        name = f"violation/{c.theorem or 'model'}"
        if not (math.isnan(found[name]) or c.largest <= found[name]):
            found[name] = c.largest
    stars = [cell["given"]["data"]["alpha"] for cell in result.cells]
    return found | {"alpha": sum(stars) / len(stars)}


def _show(result: Result) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for table in (t for t in tables(result) if t.name in ON_SCREEN):
        console.print(table.title, style="bold", markup=False)
        console.print(_drawn(table))
        for note in table.notes:
            console.print(f"  {note}", style="dim", markup=False)


def _drawn(table: Table) -> Any:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for number, head in enumerate(table.heads):
        drawn.add_column(Text(head), justify="left" if number < table.names else "right")
    for line in table.lines:
        drawn.add_row(*map(Text, line))
    return drawn
