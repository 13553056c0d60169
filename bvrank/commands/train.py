"""`bvrank train`: checks what is asked, cheap parts first, then trains, measures and tells."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.build import build
from bvrank.commands.outcome import write_outcome
from bvrank.commands.settings import TrainSettings, split_intake, train_settings
from bvrank.data.fingerprint import fingerprint
from bvrank.objectives.schedule import Schedule, parse_schedule
from bvrank.paths import store_dir
from bvrank.run import RunFolder, open_run, run_name


@dataclass(frozen=True)
class Request:
    """What the config asks for, checked and built, nothing loaded."""

    config: dict[str, Any]
    settings: TrainSettings
    schedule: Schedule
    intake: Any
    source: Any
    held_source: Any
    model: Any
    engine: Any
    store: Path
    content: str
    name: str

    @property
    def views(self) -> tuple[str, ...]:
        return self.schedule.views()

    @property
    def objective(self) -> Any:
        return self.schedule.objective

    @property
    def where(self) -> str:
        """How messages name the data."""
        return str(self.config["data"].get("path") or "data")

    @property
    def needs_reference(self) -> bool:
        return bool(self.objective.needs_reference)


def main(config: dict[str, Any]) -> int:
    """Runs one training run; 0 when it is finished, also when it was before."""
    asked = request(config)
    folder = Path(asked.settings.outputs) / asked.name
    if folder.exists() and not asked.settings.force:
        run = _open(asked)
        if run.finished:
            return _told(run, "skipped")
        with run:
            return _train(asked, run)
    return _train(asked, None)


def request(config: dict[str, Any]) -> Request:
    """Every part of the config, checked and built. ConfigError names the first that does not fit."""
    settings = train_settings(config)
    trusted = settings.trusted
    objective = build(config["objective"], "objective", trusted)
    schedule = parse_schedule(objective, settings.schedule)
    intake, node = split_intake(config["data"])
    source = build(node, "data", trusted)
    held = source.held(intake.eval_path) if intake.eval_path else None
    settings.optimizer.kind()
    content = fingerprint(config["data"])
    name = settings.name or run_name(
        config, objective=config["objective"]["_target_"], data=node["_target_"], content=content
    )
    return Request(
        config, settings, schedule, intake, source, held,
        model=build(config["model"], "model", trusted),
        engine=build(config["engine"], "engine", trusted),
        store=store_dir(settings.store), content=content, name=name,
    )  # fmt: skip


def _open(asked: Request) -> RunFolder:
    settings = asked.settings
    run = open_run(
        Path(settings.outputs), asked.name, asked.config,
        resume=settings.resume, force=settings.force, content=asked.content,
    )  # fmt: skip
    for note in run.notes:
        print(note, file=sys.stderr)
    return run


def _train(asked: Request, run: RunFolder | None) -> int:
    """Loads, opens the folder (unless it is open), trains, and shows the closing table."""
    from bvrank.commands.session import Session

    session = Session.load(asked)
    if run is None:
        with _open(asked) as opened:
            session.run(opened)
            return _told(opened, "done")
    session.run(run)
    return _told(run, "done")


def _told(run: RunFolder, status: str) -> int:
    from rich.console import Console

    from bvrank.reports.endtable import end_table
    from bvrank.run import read_run

    record = read_run(run.path)
    Console().print(end_table(record))
    final = record.summary.get("final", {})
    headline = {k: final[k] for k in ("loss", "rewards/accuracies", "eval/loss") if k in final}
    for mode, figures in record.summary.get("accuracy", {}).items():
        name = next(k for k in figures["after"] if k.startswith("avg@"))
        headline[f"{mode} {name}"] = figures["after"][name]["value"]
    write_outcome({"status": status, "folder": str(run.path), "headline": headline})
    return 0
