"""Several processes from one command: torchrun's agent in the parent, a frozen config for ranks.

The parent composed and checked everything. A rank (bvrank.commands.rank) never sees Hydra; how it
ended it writes to a file, from which the parent tells one line. Signals go to the ranks by way of
the parent, once: the ranks agree on the step after which they save and stop.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from bvrank.commands.guard import STOPS, heeded
from bvrank.commands.sweep import package_path
from bvrank.errors import ConfigError, Interrupted, TrainingError
from bvrank.run.folder import GO_ON
from bvrank.secrets import redact

GRACE = 5  # seconds between asking the other ranks to end and ending them, once one has failed
ENTRY = ("-P", "-m", "bvrank.commands.rank")
WIDTH = {"train": "micro", "sample": "sampler.sequences"}  # what memory grows with


@dataclass(frozen=True)
class Launcher:
    """The node of launcher=torchrun. `processes` are those of one machine.

    ConfigError when a number is out of range or the machines have no place to meet.
    """

    processes: int | Literal["auto"] = 1
    nodes: int = 1
    rendezvous: str | None = None
    timeout: float = 1800.0

    def __post_init__(self) -> None:
        for name, value in (("processes", self.processes), ("nodes", self.nodes)):
            if value != "auto" and value < 1:
                raise ConfigError(f"must be at least 1, got {value}", where=name)
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.timeout}", where="timeout")
        if self.nodes > 1 and not _is_place(self.rendezvous):
            raise ConfigError(
                f"must be host:port for {self.nodes} machines, got {self.rendezvous}",
                where="rendezvous", repair="For instance launcher.rendezvous=node0:29500.",
            )  # fmt: skip
        if self.nodes == 1 and self.rendezvous is not None:
            raise ConfigError("has no effect on one machine", where="rendezvous")

    @property
    def here(self) -> int:
        """Processes of this machine."""
        if self.processes != "auto":
            return self.processes
        import torch

        return max(torch.cuda.device_count(), 1)  # no GPU: one process

    @property
    def world(self) -> int:
        """Processes of all machines."""
        return self.here * self.nodes


def launch(launcher: Launcher, config: Mapping[str, Any], name: str, command: str = "train"
           ) -> int:  # fmt: skip
    """Runs `bvrank <command>` with this config in all processes of this machine; 0 when all is
    well: `work(config, ranks)` of the command's module.

    What stopped a rank is raised here: its own error, or a TrainingError that names the rank.
    """
    with tempfile.TemporaryDirectory(prefix="bvrank-") as scratch:
        job = Path(scratch) / "job.json"
        told = {"command": command, "config": dict(config), "argv": sys.argv,
                "timeout": launcher.timeout, "parent": os.getpid()}  # fmt: skip
        job.write_text(json.dumps(told), encoding="utf-8")
        agent = _Agent(launcher, job, f"{name}-{config.get('seed', 0)}")
        print(f"starting {launcher.here} processes", file=sys.stderr, flush=True)
        with _stoppable(job.parent, agent) as wishes:
            agent.start()
            while agent.is_alive():
                agent.join(0.2)
        if len(wishes) > 1:
            raise Interrupted("stopped at once", repair=GO_ON[command])
        try:
            return _ended(job.parent, agent, command)
        except Interrupted as error:
            raise _as_wished(error, wishes) from None


class _Agent(threading.Thread):
    """torchrun's agent. In a thread of its own it leaves signals alone."""

    def __init__(self, launcher: Launcher, job: Path, run_id: str) -> None:
        super().__init__(daemon=True)
        self.launcher, self.job, self.run_id = launcher, job, run_id
        self.error: Exception | None = None
        self.failures: Mapping[int, Any] = {}

    def run(self) -> None:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import elastic_launch

        logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
        os.environ.update(_environment(self.launcher.here))
        try:
            elastic_launch(self._config(), sys.executable)(*ENTRY, str(self.job))
        except ChildFailedError as error:
            self.failures = error.failures
        except Exception as error:
            self.error = error

    def _config(self) -> Any:
        from torch.distributed.launcher.api import LaunchConfig

        alone = self.launcher.nodes == 1
        return LaunchConfig(
            min_nodes=self.launcher.nodes, max_nodes=self.launcher.nodes,
            nproc_per_node=self.launcher.here, run_id=self.run_id, max_restarts=0,
            rdzv_backend="c10d", rdzv_endpoint=self.launcher.rendezvous or "127.0.0.1:0",
            rdzv_configs={"timeout": math.ceil(self.launcher.timeout)},
            local_addr="127.0.0.1" if alone else None, monitor_interval=0.1,
            shutdown_timeout=GRACE,
        )  # fmt: skip


def _environment(processes: int) -> dict[str, str]:
    """Threads that share the cores, and this very package."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (cores or 1) // processes))
    return {"OMP_NUM_THREADS": threads, "PYTHONPATH": package_path()}


@contextmanager
def _stoppable(scratch: Path, agent: _Agent) -> Iterator[list[int]]:
    """While active, a first signal to stop goes to each rank, and a second one ends them all, as
    does a rank that failed: the others have GRACE seconds to follow."""
    wishes: list[int] = []
    asked: set[int] = set()

    def hear(number: int, frame: FrameType | None) -> None:
        wishes.append(number)
        if len(wishes) > 1:
            pass_on(signal.SIGKILL)

    def pass_on(number: int) -> None:
        for path in scratch.glob("rank-*.pid"):
            pid = int(path.read_text() or 0)
            gone = path.with_suffix(".end").exists()  # its number may be somebody else's by now
            if pid and not gone and (pid not in asked or number == signal.SIGKILL):
                asked.add(pid)
                _signal(pid, number)

    def watch() -> None:
        failed: float | None = None
        while agent.is_alive() or not agent.ident:
            if wishes:  # also to ranks that are only now coming up
                pass_on(signal.SIGTERM)
            if failed is None and _any_failed(scratch):
                failed = time.monotonic()
            if failed is not None and time.monotonic() - failed > GRACE:
                pass_on(signal.SIGKILL)
            time.sleep(0.1)

    before = {number: signal.signal(number, hear) for number in STOPS if heeded(number)}
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_wished(error: Interrupted, wishes: Sequence[int]) -> Interrupted:
    """With the signal that this process heard in place of the one that it passed on."""
    passed = f"stopped by {signal.SIGTERM.name}"
    if not wishes or error.what != passed:
        return error
    what = f"stopped by {signal.Signals(wishes[0]).name}"
    return Interrupted(what, where=error.where, repair=error.repair)


def _any_failed(scratch: Path) -> bool:
    """Whether a rank ended in a way that the others have to follow."""
    for path in scratch.glob("rank-*.end"):
        end = json.loads(path.read_text(encoding="utf-8"))
        if end["code"] and not end["agreed"]:
            return True
    return False


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _ended(scratch: Path, agent: _Agent, command: str) -> int:
    """0, or the error that stopped the run, by what ranks left and how they died."""
    ends = {
        int(path.stem.removeprefix("rank-")): json.loads(path.read_text(encoding="utf-8"))
        for path in scratch.glob("rank-*.end")
    }
    if agent.error is not None:
        raise TrainingError(
            f"the processes could not be started ({' '.join(str(agent.error).split())})",
            where="launcher",
        )
    silent = sorted(r for r in agent.failures if r not in ends)
    waited = [end for end in ends.values() if end["waited"]]
    if waited and silent:  # ended by force, because they hung
        named = ", ".join(f"rank {r}" for r in silent)
        raise TrainingError(f"{waited[0]['what']} (silent: {named})", repair=waited[0]["repair"])
    killed = {r: f for r, f in agent.failures.items() if r not in ends}
    if killed:
        raise _died(min(killed.items(), key=lambda item: item[1].timestamp), command)
    wrong = [end for end in ends.values() if end["code"]]
    if not wrong:
        return 0
    return _raise(min(wrong, key=lambda end: (end["secondary"], end["time"])))


def _died(found: tuple[int, Any], command: str) -> TrainingError:
    rank, failure = found
    how = f"exit code {failure.exitcode}"
    if failure.exitcode < 0:
        how = signal.Signals(-failure.exitcode).name
    return TrainingError(
        f"rank {rank} (process {failure.pid}) died of {how}, and the others were ended",
        repair=f"If memory ran out, lower {WIDTH[command]}. {GO_ON[command]}",
    )


def _raise(end: Mapping[str, Any]) -> int:
    """Raises in the parent what a rank raised."""
    if end["traceback"]:
        print(redact(end["traceback"]), file=sys.stderr)
        raise TrainingError(f"rank {end['rank']}: {end['what']}", repair=end["repair"])
    kind = {130: Interrupted, 3: TrainingError}.get(end["code"], ConfigError)
    raise kind(end["what"], where=end["where"], repair=end["repair"])


def _is_place(text: str | None) -> bool:
    host, _, port = (text or "").rpartition(":")
    return bool(host) and port.isdigit()
