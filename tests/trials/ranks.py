"""Several processes: one dies, one hangs, the command is signalled or killed, two machines."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.commands.fast import TINY, pair_rows, write
from tests.trials import Request, Table
from tests.trials.ends import last_step, status, unlike
from tests.trials.process import Done, Running, descendants, run

STEPS = 60
COLUMNS = ("what", "said", "exit", "seconds to the end", "left", "resumed: bit-equal")


class Ranks:
    """Trials of one run on two processes."""

    def __init__(self, request: Request) -> None:
        self.folder = request.folder
        data = write(self.folder / "pairs.jsonl", pair_rows(24))
        self.words = (
            "train", "objective=dpo", "data=pairs", f"data.path={data}", *TINY, f"steps={STEPS}",
            "batch=4", "checkpoint.every=5", "engine=zero1", "launcher.processes=2", "name=run",
            f"store={self.folder}/store", "examples.count=0", *request.overrides,
        )  # fmt: skip
        self.whole = self.outputs("whole") / "run"
        done = run(self.folder / "whole", (*self.words, f"outputs={self.outputs('whole')}"))
        if done.code:
            raise RuntimeError(done.err)

    def outputs(self, name: str) -> Path:
        """The outputs folder of a trial."""
        return self.folder / name / "outputs"

    def start(self, name: str, *more: str) -> Running:
        """A trial, running and beyond its first checkpoint."""
        running = Running(self.folder / name, (*self.words, f"outputs={self.outputs(name)}", *more))
        if not running.wait_for(lambda: last_step(self.outputs(name) / "run") >= 7):
            raise RuntimeError(running.err)
        return running

    def resumed(self, name: str, *more: str) -> str:
        """Goes on to the end; "yes", or what differs from the run that nothing befell."""
        done = run(self.folder / name, (*self.words, f"outputs={self.outputs(name)}",
                                        "resume=true", *more))  # fmt: skip
        if done.code:
            return f"exit {done.code}: {done.said}"
        return ", ".join(unlike(self.whole, self.outputs(name) / "run")) or "yes"


Cells = tuple[Done, float, str]


def killed_rank(ranks: Ranks, name: str) -> Cells:
    """Rank 1 is killed; the first says what the others see."""
    running = ranks.start(name)
    began = _signalled(_rank(running, 1), signal.SIGKILL)
    return running.finish(), time.monotonic() - began, r"rank 1 \(process \d+\) died of SIGKILL"


def hanging_rank(ranks: Ranks, name: str) -> Cells:
    """Rank 1 stands still; the others wait for launcher.timeout."""
    running = ranks.start(name, "launcher.timeout=8")
    began = _signalled(_rank(running, 1), signal.SIGSTOP)
    return (
        running.finish(),
        time.monotonic() - began,
        r"heard nothing from another rank .*silent: rank 1",
    )


def signalled(number: signal.Signals) -> Callable[[Ranks, str], Cells]:
    """The command hears a signal to stop."""

    def trial(ranks: Ranks, name: str) -> Cells:
        running = ranks.start(name)
        began = _signalled(running.process.pid, number)
        return running.finish(), time.monotonic() - began, r"stopped after step \d+ of \d+"

    return trial


def killed_command(ranks: Ranks, name: str) -> Cells:
    """The command itself is killed: the ranks must not train on unseen."""
    running = ranks.start(name)
    below = descendants(running.process.pid)
    began = _signalled(running.process.pid, signal.SIGKILL)
    done = running.finish()
    while any(_runs(pid) for pid in below) and time.monotonic() - began < 30:
        time.sleep(0.05)
    return done, time.monotonic() - began, ""


def other_number(ranks: Ranks, name: str) -> Cells:
    """A run of two processes is not one of a single one."""
    ranks.start(name).kill()
    began = time.monotonic()
    done = run(ranks.folder / name, (*ranks.words, f"outputs={ranks.outputs(name)}", "resume=true",
                                     "launcher.processes=1"))  # fmt: skip
    return done, time.monotonic() - began, "is of 2 processes, and 1 would go on with it"


def second_command(ranks: Ranks, name: str) -> Cells:
    """Two in one folder: the second is refused, the first goes on undisturbed."""
    running = ranks.start(name)
    below = [running.process.pid, *descendants(running.process.pid)]
    for pid in below:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with_it = (*ranks.words, f"outputs={ranks.outputs(name)}", "resume=true")
    done = run(ranks.folder / name, with_it)
    seconds = time.monotonic() - began
    for pid in below:
        os.kill(pid, signal.SIGCONT)
    first = running.finish()
    if first.code:
        raise RuntimeError(first.err)
    return done, seconds, "is working in this folder"


def broken_data(ranks: Ranks, name: str) -> Cells:
    """A mistake that only the ranks come upon."""
    bad = write(ranks.folder / "bad.jsonl", [{"prompt": "x", "chosen": "a", "rejected": "a"}] * 9)
    began = time.monotonic()
    words = (*ranks.words, f"outputs={ranks.outputs(name)}", f"data.path={bad}")
    return run(ranks.folder / name, words), time.monotonic() - began, "equal_sides"


def two_machines(ranks: Ranks, name: str) -> Cells:
    """launcher.nodes=2 with a process each, here on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (*ranks.words, f"outputs={ranks.outputs(name)}", "launcher.processes=1",
             "launcher.nodes=2", f"launcher.rendezvous=localhost:{port}")  # fmt: skip
    began = time.monotonic()
    both = [Running(ranks.folder / f"{name}-{n}", words) for n in range(2)]
    first, second = (one.finish() for one in both)
    done = first if first.code else second
    return done, time.monotonic() - began, ""


# What befalls -> trial, exit code, whether a resume has to lead to the same end.
TRIALS: dict[str, tuple[Callable[[Ranks, str], Cells], int, bool]] = {
    "a rank is killed": (killed_rank, 3, True),
    "a rank hangs": (hanging_rank, 3, True),
    "SIGTERM": (signalled(signal.SIGTERM), 130, True),
    "SIGUSR1": (signalled(signal.SIGUSR1), 130, True),
    "SIGINT": (signalled(signal.SIGINT), 130, True),
    "the command is killed": (killed_command, -9, True),
    "resumed with another number": (other_number, 2, True),
    "a second command in the folder": (second_command, 2, True),
    "rows that all ranks refuse": (broken_data, 2, False),
    "two machines": (two_machines, 0, True),
}


def table(request: Request) -> Table:
    """Every trial, or those whose name holds `only`."""
    ranks = Ranks(request)
    made = Table("Two processes (engine=zero1 unless said otherwise)", COLUMNS)
    for number, (what, (trial, code, goes_on)) in enumerate(TRIALS.items()):
        if request.only in what:
            cells, right = row(ranks, f"trial-{number}", trial, code, goes_on)
            made.add(what, *cells, right=right)
    return made


def row(ranks: Ranks, name: str, trial: Callable[[Ranks, str], Cells], code: int, goes_on: bool
        ) -> tuple[Sequence[object], bool]:  # fmt: skip
    """The cells of one trial, and whether all is as it should be."""
    done, seconds, words = trial(ranks, name)
    folder = ranks.outputs(name) / "run"
    left = status(folder) if (folder / "manifest.json").is_file() else "no run folder"
    end = ranks.resumed(name) if goes_on else ""
    right = done.code == code and bool(re.search(words, done.said)) and end in ("yes", "")
    right = right and (done.clear or not words) and seconds < 60
    if right and (gone := [p for p in folder.rglob("*.part") if p.exists()]):
        end, right = f"left {gone[0].name}", False
    return (done.said or "-", done.code, f"{seconds:.1f}", left, end or "-"), right


def _signalled(pid: int, number: int) -> float:
    os.kill(pid, number)
    return time.monotonic()


def _rank(running: Running, rank: int) -> int:
    """The process of a rank."""
    for pid in descendants(running.process.pid):
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in words:
            return pid
    raise RuntimeError(f"no rank {rank}: {running.err}")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
