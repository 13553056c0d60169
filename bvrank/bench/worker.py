"""An arm of a benchmark in a process of its own: `python -m bvrank.bench.worker job.json`.

A line of JSON on stdout tells that it is ready; each line on stdin asks for one optimiser step, and
a line of JSON answers with what it cost. So arms of several libraries take turns, each with its own
memory. What they print themselves goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.errors import RunError

PAGE = resource.getpagesize()
GRACE = 10.0  # seconds an arm that says no more has for its end


@dataclass(frozen=True)
class Done:
    """A step: its seconds, its loss, the process's peak memory in bytes and that above what was
    resident before the first step."""

    seconds: float
    loss: float
    peak: int
    above: int


class Worker:
    """The parent's end of an arm. RunError with the arm's last words when it ends untimely."""

    def __init__(self, job: Mapping[str, Any], folder: Path, name: str) -> None:
        self.name = name
        path = folder / f"{name}.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        self._errors = folder / f"{name}.log"
        threads = str(job["threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
                       "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}  # fmt: skip
        with self._errors.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bvrank.bench.worker", str(path)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
        self.ready = self._answer()

    def step(self) -> Done:
        """One optimiser step."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        return Done(**self._answer())

    def close(self) -> None:
        """Ends it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)  # else `close` would be what killed it
        self.close()
        words = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        killed = self._process.returncode == -9
        why = "killed, perhaps for want of memory" if killed else (words or ["it said nothing"])[-1]
        raise RunError(f"the arm {self.name} ended ({why})", where="bench")


@contextlib.contextmanager
def started(jobs: Mapping[str, Mapping[str, Any]], folder: Path) -> Iterator[dict[str, Worker]]:
    """A worker for each job, one after another; all of them are ended afterwards."""
    workers: dict[str, Worker] = {}
    try:
        for name, job in jobs.items():
            workers[name] = Worker(job, folder, name)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


class Turns:
    """The child's end: says that it is ready, then waits to be asked and measures what follows."""

    def __init__(self, device: str) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._device, self._start, self._resident = device, 0.0, 0

    def ready(self, **told: Any) -> None:
        """Tells `told` once; waits for the first step."""
        self._resident = _resident(self._device)
        _forget_peak(self._device)
        self._say({**told, "resident": self._resident})
        self._wait()

    def done(self, loss: float) -> None:
        """Tells what the step cost; waits for the next."""
        seconds = time.perf_counter() - self._start
        peak = _peak(self._device)
        self._say(vars(Done(seconds, loss, peak, peak - self._resident)))
        self._wait()

    def _say(self, told: Mapping[str, Any]) -> None:
        print(json.dumps(told), file=self._out, flush=True)

    def _wait(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)  # nobody is left to ask
        self._start = time.perf_counter()


def _resident(device: str) -> int:
    """Bytes in use now."""
    if device != "cpu":
        import torch

        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _peak(device: str) -> int:
    """Most bytes in use since `_forget_peak`."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _forget_peak(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):  # else loading counts as well
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Runs the job until stdin ends."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    turns = Turns(job["device"])
    if job["library"] == "trl":
        from bvrank.bench import peer

        peer.steps(job, turns)
    else:
        from bvrank.bench import own

        own.steps(job, turns)


if __name__ == "__main__":
    main()
