"""bvrank report: run folders -> tables on the terminal, and one HTML page with all there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bvrank.errors import ConfigError, RunError
from bvrank.paths import conf_dir
from bvrank.reports.collect import collect
from bvrank.reports.tables import Table, grid, tables
from bvrank.reports.text import one_line
from bvrank.run import RunRecord, is_run, write_atomic


def main(config: dict[str, Any]) -> int:
    """Reports on the runs that `config["runs"]` matches, into the folder `config["out"]`.

    RunError when nothing matches or the folder cannot be written.
    """
    from rich.console import Console

    if config.get("compare") is not None:
        from bvrank.commands import comparison

        usual = yaml.safe_load((conf_dir() / "report.yaml").read_text("utf-8"))
        for key in ("runs", "out"):
            if config.get(key, usual[key]) != usual[key]:
                raise ConfigError("has no effect with compare, which prints and writes nothing",
                                  where=key, repair="Leave it out.")  # fmt: skip
        return comparison.main(config["compare"], config.get("where"))
    if config.get("where") not in (None, {}):
        raise ConfigError("has no effect without compare", where="where",
                          repair="Write compare=[outputs/a,outputs/b] beside it.")  # fmt: skip
    records = collect(_patterns(config["runs"]))
    out = _folder(config["out"])
    shown = tables(records)
    page = _write(records, shown, out)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width to keep to
        console = Console(width=200)
    for table in shown:
        console.print(grid(table))
        for note in table.notes:
            console.print(f"  {one_line(note)}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _write(records: list[RunRecord], shown: list[Table], out: Path) -> Path:
    from bvrank.reports.page import page

    path = out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page(records, shown))
    except OSError as error:
        raise RunError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(out),
            repair="Choose a folder that you can write to with out=...",
        ) from error
    return path


def _patterns(runs: Any) -> list[str]:
    patterns = [runs] if isinstance(runs, str) else runs
    if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
        raise ConfigError(
            f"must be a pattern or a list of patterns, got {runs!r}",
            where="runs",
            repair="As in runs='outputs/*' or runs='[outputs/a,outputs/b]'.",
        )
    return patterns


def _folder(out: Any) -> Path:
    if not isinstance(out, str) or not out:
        raise ConfigError(f"must name a folder, got {out!r}", where="out")
    folder = Path(out).expanduser()
    if is_run(folder):
        raise ConfigError(
            "is itself a run folder", where="out", repair="Choose another, as out=outputs/report."
        )
    return folder
