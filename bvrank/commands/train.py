"""`bvrank train`: checks what is asked, cheap parts first, then trains, measures and tells."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bvrank.commands import measuring
from bvrank.commands.build import build, trackers_of
from bvrank.commands.early import adapter, check_files
from bvrank.commands.outcome import write_outcome
from bvrank.commands.sections import Scoring
from bvrank.commands.settings import TrainSettings, split_intake, train_settings
from bvrank.data.fingerprint import fingerprint
from bvrank.errors import ConfigError
from bvrank.objectives.schedule import Schedule, parse_schedule
from bvrank.paths import store_dir
from bvrank.ranks import ALONE, Ranks
from bvrank.run import Follower, RunFolder, is_run, open_run, run_name
from bvrank.run.folder import check_outputs
from bvrank.run.identity import canonical
from bvrank.run.record import read_config, read_manifest

if TYPE_CHECKING:
    from bvrank.commands.launch import Launcher
    from bvrank.models.lora import LoRA


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
    trackers: list[Any]
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

    @property
    def reference(self) -> str:
        """Where reference log-probs come from; "" when the objective needs none."""
        return self.settings.scoring.reference if self.needs_reference else ""


def main(config: dict[str, Any]) -> int:
    """Runs one training run; 0 when it is finished, also when it was before.

    More than one process: this one checks, makes what all will need, and starts them.
    """
    from bvrank.commands.launch import launch

    launcher = _launcher(config)
    if launcher.world == 1:
        return work(config, ALONE)
    config = config | {"launcher": config["launcher"] | {"processes": launcher.here}}
    if launcher.nodes == 1 and (finished := _finished(config)) is not None:
        return _told(finished, "skipped")
    asked = request(config)
    check_outputs(Path(asked.settings.outputs))
    from bvrank.commands.loading import prepared

    prepared(asked)
    return launch(launcher, config, asked.name)


def work(config: dict[str, Any], ranks: Ranks) -> int:
    """The run in this process, one of `ranks`."""
    finished = _finished(config) if ranks.first else None
    if ranks.agree(finished is not None):
        return _told(finished, "skipped") if finished else 0
    asked = request(config)
    folder = Path(asked.settings.outputs) / asked.name
    if ranks.agree(folder.exists()) and not asked.settings.force:
        with _open(asked, ranks) as run:
            return _told(run, "skipped") if run.finished else _train(asked, run, ranks)
    if ranks.first:
        check_outputs(folder.parent)
    return _train(asked, None, ranks)


def request(config: dict[str, Any]) -> Request:
    """Every part of the config, checked and built; what needs torch comes behind what needs none.
    ConfigError names the first misfit, DataError a file that is not there."""
    settings = train_settings(config)
    trusted, launcher = settings.trusted, _launcher(config)
    settings.forwards(launcher.world)
    intake, node = split_intake(config["data"])
    source = build(node, "data", trusted)
    held = _held(source, intake.eval_path)
    _check_evaluation(settings, held is not None or intake.eval_fraction > 0)
    check_files(config["data"])
    settings.template.text()
    _check_reference(settings, adapter(config["model"]))
    trackers = trackers_of(config.get("tracker") or {}, trusted)
    store = _store(settings.store)
    objective = build(config["objective"], "objective", trusted)
    measuring.check(settings, objective, source)
    schedule = parse_schedule(objective, settings.schedule)
    _check_wanted(settings, objective)
    content, name = _identity(config, settings)
    settings.optimizer.kind()
    engine = build(config["engine"], "engine", trusted)
    engine.check(
        precision=settings.precision, optimizer=settings.optimizer.name,
        processes=max(launcher.here, launcher.nodes), compiled=settings.compile,
        measured=measuring.wanted(settings, objective),
    )  # fmt: skip
    model = build(config["model"], "model", trusted)
    _check_reference(settings, model.lora)
    return Request(
        config, settings, schedule, intake, source, held, model=model, engine=engine,
        trackers=trackers, store=store, content=content, name=name,
    )  # fmt: skip


def _finished(config: dict[str, Any]) -> RunFolder | None:
    """The run of this very config, if it is finished. Nothing is built and torch is not imported,
    unless other processes than the run's are asked for: not every engine takes them."""
    settings = train_settings(config)
    nodes = (config.get("objective"), config.get("data"))
    if settings.force or not all(isinstance(n, dict) and "_target_" in n for n in nodes):
        return None
    content, name = _identity(config, settings)
    folder = Path(settings.outputs) / name
    if not is_run(folder) or read_manifest(folder).get("status") != "finished":
        return None
    if canonical(read_config(folder).get("launcher")) != canonical(config.get("launcher")):
        request(config)
    return _opened(config, settings, content, name)


def _identity(config: dict[str, Any], settings: TrainSettings) -> tuple[str, str]:
    """The fingerprint of the files that data, model and template name, and the run's name."""
    files = {key: config.get(key) or {} for key in ("data", "model", "template")}
    content = fingerprint(files)
    objective, data = (str(config[group]["_target_"]) for group in ("objective", "data"))
    name = settings.name or run_name(config, objective=objective, data=data, content=content)
    return content, name


def _held(source: Any, path: str | None) -> Any:
    """The source of the held-out file, read as the source reads its own; None without one."""
    if path is None:
        return None
    if hasattr(source, "held"):
        return source.held(path)
    if not hasattr(source, "path"):
        raise ConfigError("this source reads no file", where="data.eval_path")
    return replace(source, path=path)


def _check_evaluation(settings: TrainSettings, held_out: bool) -> None:
    best = settings.checkpoint.best or ""
    wanted = {"eval.every": settings.eval.every, "eval.rows": settings.eval.rows,
              "checkpoint.best": best.startswith("eval/")}  # fmt: skip
    for key, value in wanted.items():
        if value and not held_out:
            raise ConfigError(
                "needs held-out rows, and there are none", where=key,
                repair="Set data.eval_path or data.eval_fraction.",
            )  # fmt: skip


def _check_reference(settings: TrainSettings, lora: LoRA | None) -> None:
    """ConfigError when the policy without its adapter is not what it starts from."""
    if settings.scoring.reference != "adapter_off" or lora is None or lora.new:
        return
    trained = lora.path is not None
    why = "the run starts from a trained adapter, and its reference is that, not the base model"
    raise ConfigError(
        why if trained else "the model has no adapter", where="scoring.reference",
        repair="Set scoring.reference=stored" + ("." if trained else ", or model.lora.r=16."),
    )  # fmt: skip


def _check_wanted(settings: TrainSettings, objective: Any) -> None:
    """ConfigError for a way to score the reference where none is; the usual one is silent."""
    usual = Scoring.__dataclass_fields__["reference"].default
    if settings.scoring.reference != usual and not objective.needs_reference:
        raise ConfigError("has no effect: this objective has no reference",
                          where="scoring.reference", repair="Leave it out.")  # fmt: skip


def _store(setting: str | None) -> Path:
    """The artifact store. ConfigError when something that is no folder stands in its place."""
    store = store_dir(setting)
    standing = next((p for p in (store, *store.parents) if p.exists()), store)
    if standing.exists() and not standing.is_dir():
        raise ConfigError(f"{standing} is no folder", where="store")
    return store


def _launcher(config: dict[str, Any]) -> Launcher:
    launcher: Launcher = build(config["launcher"], "launcher")
    return launcher


def _open(asked: Request, ranks: Ranks) -> RunFolder:
    """The first rank opens the folder, and the others follow it."""
    run, found = None, None
    if ranks.first:
        run = _opened(asked.config, asked.settings, asked.content, asked.name, ranks.world)
        found = (run.path, run.finished, run.resumed)
    path, finished, resumed = ranks.agree(found) or (Path(), False, False)
    return run or Follower(path, finished=finished, resumed=resumed)


def _opened(config: dict[str, Any], settings: TrainSettings, content: str, name: str,
            world: int = 1) -> RunFolder:  # fmt: skip
    run = open_run(
        Path(settings.outputs), name, config,
        resume=settings.resume, force=settings.force, content=content, world=world,
    )  # fmt: skip
    for note in run.notes:
        print(note, file=sys.stderr)
    return run


def _train(asked: Request, run: RunFolder | None, ranks: Ranks) -> int:
    """Loads, opens the folder (unless it is open), trains, and shows the closing table."""
    from bvrank.commands.session import Session

    session = Session.load(asked, ranks)
    if run is None:
        with _open(asked, ranks) as opened:
            session.run(opened)
            return _told(opened, "done") if ranks.first else 0
    session.run(run)
    return _told(run, "done") if ranks.first else 0


def _told(run: RunFolder, status: str) -> int:
    from rich.console import Console

    from bvrank.reports.endtable import end_table
    from bvrank.run import read_run

    record = read_run(run.path)
    if status == "skipped":
        print(f"{run.path}: finished before, nothing ran (force=true runs again)", file=sys.stderr)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a path in a log is copied whole
    console.print(end_table(record))
    final = record.summary.get("final", {})
    headline = {k: final[k] for k in ("loss", "rewards/accuracies", "eval/loss") if k in final}
    for mode, figures in record.summary.get("accuracy", {}).items():
        name = next(k for k in figures["after"] if k.startswith("avg@"))
        headline[f"{mode} {name}"] = figures["after"][name]["value"]
    write_outcome({"status": status, "folder": str(run.path), "headline": headline})
    return 0
