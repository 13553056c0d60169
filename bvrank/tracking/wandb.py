"""Weights & Biases: offline unless asked, and never in the way of a run.

Everything wandb writes lies below `<run>/wandb`. Its id follows from the run folder, so that a
resumed run goes on as the same run there. What needs the network has a deadline.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bvrank.errors import ConfigError, RunError
from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.run.identity import group_name
from bvrank.run.record import read_manifest
from bvrank.secrets import redact
from bvrank.tracking.installed import check_installed
from bvrank.tracking.tables import figures, tables

FOLDER = "wandb"


@dataclass(frozen=True)
class Wandb:
    """The node of tracker=wandb; conf/tracker/wandb.yaml says what each key means."""

    project: str = "bvrank"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["offline", "online", "disabled"] = "offline"
    api_key_env: str = "WANDB_API_KEY"
    timeout: float = 10.0

    def __post_init__(self) -> None:
        check_installed("wandb")
        if not self.project.strip():
            raise ConfigError("must be a name", where="project")
        if not self.api_key_env.isidentifier():
            raise ConfigError("must be the NAME of an environment variable", where="api_key_env")
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.timeout}", where="timeout")

    def tracker(self, done: int) -> Tracker:
        """The tracker of a run that goes on behind step `done` (0: a new one)."""
        return WandbRun(self)


class WandbRun:
    """One run at wandb. Losing the network costs at most a few `timeout`s."""

    def __init__(self, asked: Wandb) -> None:
        self._asked = asked
        self._run: Any = None
        self._folder = Path()
        self._surroundings = ExitStack()

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Begins the run, online when that is asked for and possible, else offline."""
        _tell_variable(self._asked.mode)
        if self._asked.mode == "disabled":
            return
        self._folder = folder
        with ExitStack() as undone:
            undone.enter_context(_own_places(folder / FOLDER))
            with _ends_as_before():
                self._start(config)
            self._surroundings = undone.pop_all()

    def _start(self, config: Mapping[str, Any]) -> None:
        if self._asked.mode == "online":
            self._run = self._online(config)
        if self._run is None:
            self._run = self._begun(config, "offline")

    def log(self, report: StepReport) -> None:
        """One row of history; the step is the optimiser's."""
        if self._run is not None:
            self._run.log(dict(report.values), step=report.step, commit=True)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Adds the summary's figures and tables and ends the run; without one it has failed."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            # A table asks the server, and would wait for an answer without an end (0.31).
            if not _within(self._asked.timeout, lambda: _summarised(run, summary)):
                _tell("the server does not answer; the tables are in summary.json alone")
        finally:
            self._end(run, 0 if summary else 1)

    def _end(self, run: Any, code: int) -> None:
        """Ends the run and says how to upload what could not be."""
        try:
            run.finish(exit_code=code)
            left = "offline" if run.offline else ""
        except TimeoutError:
            left = "the server does not answer"
        finally:
            self._surroundings.close()
        if left:
            kind = "offline-run" if run.offline else "run"
            _tell(f"{left}; to upload: wandb sync {self._folder / FOLDER}/{kind}-*")

    def _online(self, config: Mapping[str, Any]) -> Any:
        """The run, or None with one line that says why it goes on offline."""
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        asked = self._asked
        key = os.environ.get(asked.api_key_env)
        try:
            if not key and not wandb.login(prompt=False, verify=False):
                _tell(f"${asked.api_key_env} is not set and nobody is logged in; going on offline")
                return None
            run = self._begun(config, "online", key)
        except Exception as error:  # wandb raises from a dozen unrelated classes
            why = " ".join(str(redact(str(error))).split()) or type(error).__name__
            _tell(f"no connection ({why[:200]}); going on offline")
            _within(asked.timeout, wandb.teardown)  # else the run's id stays taken (0.31)
            return None
        _tell(str(run.url))
        return run

    def _begun(self, config: Mapping[str, Any], mode: str, key: str | None = None) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        asked, name = self._asked, self._folder.name
        return wandb.init(
            project=asked.project, entity=asked.entity, group=asked.group or group_name(config),
            tags=list(asked.tags), name=name, id=_run_id(self._folder), dir=str(self._folder),
            config=dict(config), mode=mode, resume="allow" if mode == "online" else None,  # type: ignore[arg-type]
            settings=wandb.Settings(api_key=key, **_quiet(asked.timeout)),
        )  # fmt: skip


def _quiet(timeout: float) -> dict[str, Any]:
    """wandb reads neither console, code, git nor machine, prints nothing, and waits no longer."""
    return {
        "silent": True, "console": "off", "save_code": False, "disable_code": True,
        "disable_git": True, "disable_job_creation": True, "x_disable_stats": True,
        "x_disable_meta": True, "x_disable_machine_info": True, "x_save_requirements": False,
        "init_timeout": timeout, "finish_timeout": timeout, "finish_timeout_raises": True,
    }  # fmt: skip


def _summarised(run: Any, summary: Mapping[str, Any]) -> None:
    import wandb

    run.summary.update(figures(summary))
    for name, table in tables(summary).items():
        rows = [list(row) for row in table.rows]
        run.summary[f"tables/{name}"] = wandb.Table(columns=list(table.columns), data=rows)


def _run_id(folder: Path) -> str:
    """The same for every session of a run, another for a run that starts anew in its place."""
    with suppress(RunError):
        started = read_manifest(folder).get("started", "")
        return hashlib.sha256(f"{folder.name} {started}".encode()).hexdigest()[:12]
    return hashlib.sha256(folder.name.encode()).hexdigest()[:12]


@contextmanager
def _own_places(folder: Path) -> Iterator[None]:
    """What wandb keeps lies below `folder`, unless variables of the user's say otherwise.

    Its telemetry is off: at the end of a process it waits ten seconds for a dead network (0.31).
    """
    folder.mkdir(exist_ok=True)
    ours = {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
    }
    added = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _ends_as_before() -> Iterator[None]:
    """wandb takes over sys.exit and the printing of tracebacks; both are given back."""
    leave, uncaught = sys.exit, sys.excepthook
    try:
        yield
    finally:
        sys.exit, sys.excepthook = leave, uncaught


def _within(seconds: float, action: Any) -> bool:
    """Whether `action` ended in time; else it is left behind. What it raises is raised here."""
    raised: list[Exception] = []

    def guarded() -> None:
        try:
            action()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    return not thread.is_alive()


def _tell_variable(mode: str) -> None:
    """A variable that says otherwise is named: the key decides."""
    other = os.environ.get("WANDB_MODE")
    if other and other != mode:
        _tell(f"WANDB_MODE={other} does not count: tracker.wandb.mode={mode} does")


def _tell(text: str) -> None:
    print(f"wandb: {redact(text)}", file=sys.stderr, flush=True)
