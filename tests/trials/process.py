"""The command in a process of its own, watched and ended from outside."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.commands.line import ROOT

POLL = 0.001  # seconds; a save takes tens of milliseconds
COMMAND = (sys.executable, "-P", "-m", "bvrank")
LONGEST = 300.0  # seconds that anything may take
DIES = 120.0  # seconds within which the others end when one process was killed


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The lines that tell what went wrong, as one; "" if there is none."""
        told = ("error:", "warning:", "store:", "skipped a damaged")
        return " | ".join(line for line in self.err.splitlines() if line.startswith(told))

    @property
    def clear(self) -> bool:
        """Whether there is exactly one error, and no traceback."""
        errors = [line for line in self.err.splitlines() if line.startswith("error:")]
        return len(errors) == 1 and "Traceback" not in self.err


class Running:
    """`bvrank <words>`, running; its output goes to files in `logs`."""

    def __init__(self, logs: Path, words: Sequence[str]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        number = len(list(logs.glob("*.err")))
        self.out_path, self.err_path = logs / f"{number}.out", logs / f"{number}.err"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.out_path.open("w") as out, self.err_path.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *words], stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                env=environment, cwd=logs, start_new_session=True,
            )  # fmt: skip

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self.err_path.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def wait_for(self, condition: Callable[[], bool], seconds: float = LONGEST) -> bool:
        """Looks often until `condition` holds (True) or the command is over (False)."""
        end = time.monotonic() + seconds
        while not condition():
            if self.ended:
                return False
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"nothing happened in {seconds} s:\n{self.err}")
            time.sleep(POLL)
        return True

    def finish(self, seconds: float = LONGEST) -> Done:
        """Waits for its end. TimeoutError (and its end) after `seconds`."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"not over after {seconds} s:\n{self.err}") from None
        return Done(code, self.out_path.read_text(errors="replace"), self.err)

    def kill(self, victim: str = "all", draw: random.Random | None = None) -> Done:
        """SIGKILL to the command and all its descendants, or to `one` descendant that `draw`
        chooses (the command itself if it has none); then waits for the end of all."""
        below = descendants(self.process.pid)
        if victim == "one" and below:
            chosen = (draw or random.Random(0)).choice(below)
            _send(chosen)
            return self.finish(DIES)
        for pid in (self.process.pid, *below, *descendants(self.process.pid)):
            _send(pid)
        done = self.finish()
        while any(_lives(pid) for pid in below):
            time.sleep(0.01)
        return done

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While active, it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def hears(self, number: int) -> bool:
        """Whether it handles a signal by now."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
        return False


def run(logs: Path, words: Sequence[str]) -> Done:
    """The command from start to end."""
    return Running(logs, words).finish()


def descendants(pid: int) -> list[int]:
    """Every process that `pid` started, and those that they started."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, new = [], [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                after = (folder / "stat").read_text().rpartition(")")[2].split()
                yield int(folder.name), int(after[1])


def _send(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    """Whether it runs; a zombie whose parent is gone waits for nobody."""
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0] not in ("Z", "X")
    return False
