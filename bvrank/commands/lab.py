"""`bvrank lab`: an enumerable reasoning model, and every figure of the theory on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bvrank.commands.build import construct
from bvrank.commands.outcome import write_outcome
from bvrank.errors import ConfigError
from bvrank.lab.options import Settings
from bvrank.lab.result import FIGURES, PAGE, Result, read_result, write_result
from bvrank.lab.tables import Table, tables
from bvrank.run import RunFolder, is_run, open_run, run_name, write_atomic
from bvrank.run.folder import GO_ON, told
from bvrank.run.record import read_manifest

ON_SCREEN = ("checks", "alphas", "arms")  # tables that the terminal shows; the page has all


def main(config: dict[str, Any]) -> int:
    """Measures, or finds it finished; prints the tables. 1 when a check does not hold."""
    given = {k: v for k, v in config.items() if k not in ("force", "name", "outputs")}
    settings: Settings = construct(Settings, given, "")
    folder = _folder(config, settings)
    finished = _is_finished(folder)
    if finished and not config["force"]:
        print(f"{folder}: finished before, nothing ran (force=true measures again)",
              file=sys.stderr)  # fmt: skip
    else:
        _measure(config, settings, folder)
    result = read_result(folder)
    _show(result)
    print(f"\npage: {folder / PAGE}")
    status = "skipped" if finished and not config["force"] else "done"
    write_outcome({"status": status, "headline": _final(result), "folder": str(folder)})
    return 0 if result.holds else 1


def _folder(config: Mapping[str, Any], settings: Settings) -> Path:
    if not isinstance(config["outputs"], str) or not config["outputs"].strip():
        raise ConfigError("must name a folder", where="outputs")
    shape = settings.shape
    name = config["name"] or run_name(config, objective="lab",
                                      data=f"{shape.alphabet}x{shape.length}")  # fmt: skip
    return Path(config["outputs"]).expanduser() / name


def _is_finished(folder: Path) -> bool:
    return (is_run(folder) and (folder / FIGURES).is_file()
            and read_manifest(folder).get("status") == "finished")  # fmt: skip


def _measure(config: dict[str, Any], settings: Settings, folder: Path) -> None:
    from bvrank.lab.page import page

    there = is_run(folder) and not config["force"]
    with told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    run = open_run(folder.parent, folder.name, config, resume=there, again=there,
                   force=config["force"])  # fmt: skip
    run.go_on = GO_ON["lab"]
    for note in run.notes:
        print(note, file=sys.stderr)
    with run:
        result = _result(settings)
        with told(run.path):
            write_result(run.path, result)
            write_atomic(run.path / PAGE, page(result))
        _finish(run, result)


def _result(settings: Settings) -> Result:
    from bvrank.lab.check import worst
    from bvrank.lab.runs import Runs, runs, stretches
    from bvrank.lab.study import studied
    from bvrank.tracking.progress import phase

    with phase("policies", settings.worlds * len(settings.distances)) as shown:
        cells = studied(settings, shown.advance)
    found, train = Runs(None, {}, []), settings.train
    if train.seeds:
        work = train.steps * len(train.rules) * len(stretches(settings))
        with phase("training", work) as shown:
            found = runs(settings, shown.advance)
    arrays = {f"{c.figures['world']}/{c.figures['distance']:g}/{name}": value
              for c in cells for name, value in c.arrays.items()}  # fmt: skip
    checks = worst([*(check for c in cells for check in c.checks), *found.checks])
    return Result(asdict(settings), [c.figures for c in cells], checks, found.figures,
                  arrays | found.arrays)  # fmt: skip


def _finish(run: RunFolder, result: Result) -> None:
    run.finish({"final": _final(result)})


def _final(result: Result) -> dict[str, float]:
    """Largest violations by theorem, and the mean alpha*."""
    found = {f"violation/{c.theorem or 'model'}": 0.0 for c in result.checks}
    for c in result.checks:
        key = f"violation/{c.theorem or 'model'}"
        found[key] = max(found[key], c.largest)
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
