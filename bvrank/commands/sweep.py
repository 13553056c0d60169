"""A multirun: one process per job, so that no job can harm the next, and a table at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import bvrank
from bvrank.commands.guard import STOPS, heeded
from bvrank.commands.outcome import VARIABLE, read_outcome
from bvrank.errors import BvrankError

# -P: a file of the user's that is called like a library's module must not take its place.
WORKER = (sys.executable, "-P", "-m", "bvrank.commands.job")
WORDS = {"done": "done", "skipped": "already there", "failed": "failed", "stopped": "stopped"}


@dataclass(frozen=True)
class Point:
    """One job of a sweep and what became of it; `status` is a key of WORDS."""

    overrides: tuple[str, ...]
    status: str
    seconds: float
    folder: str = ""
    headline: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


class Sweep:
    """Runs the points that Hydra's sweeper hands over, one after the other."""

    def __init__(
        self,
        command: str,
        scratch: str,
        worker: Sequence[str] = WORKER,
        stdout: int | None = None,
    ) -> None:
        self.scratch, self.worker, self.stdout = scratch, (*worker, command), stdout
        self.points: list[Point] = []
        self.stopped = False
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def started(self) -> bool:
        """Whether there was a point."""
        return bool(self.points)

    def run(self, config: dict[str, Any] | BvrankError, overrides: Sequence[str]) -> float | None:
        """Runs one point in a process of its own; returns its first headline figure.

        Whatever becomes of the process, the next point can run; a config that could not be
        composed is a failed point too. KeyboardInterrupt when the sweep was told to stop: the job
        has then saved its state and ended.
        """
        print(f"\n[{len(self.points) + 1}] {' '.join(overrides)}", flush=True)
        if isinstance(config, BvrankError):
            print(f"error: {config}", file=sys.stderr)
            point = Point(tuple(overrides), "failed", 0.0, message=str(config))
        else:
            point = self.ran(config, tuple(overrides))
        self.points.append(point)
        if self.stopped:
            raise KeyboardInterrupt
        figures = [v for v in point.headline.values() if isinstance(v, int | float)]
        return float(figures[0]) if figures else None

    def finish(self) -> int:
        """Prints the table; returns 0 if every point is there, 1 if not, 130 if stopped."""
        print("\n" + table(self.points), flush=True)
        if self.stopped:
            return 130
        return 0 if all(p.status in ("done", "skipped") for p in self.points) else 1

    def ran(self, config: dict[str, Any], overrides: tuple[str, ...]) -> Point:
        """The point that a process of its own makes of the config."""
        job = Path(self.scratch) / f"{len(self.points) + 1}.json"
        job.write_text(json.dumps(config), encoding="utf-8")
        outcome = job.with_suffix(".outcome")
        began = time.monotonic()
        code = self._wait(job, outcome, overrides)
        return _point(overrides, code, read_outcome(outcome), time.monotonic() - began)

    def _wait(self, job: Path, outcome: Path, overrides: tuple[str, ...]) -> int:
        with self._stoppable():
            self._child = subprocess.Popen(
                [*self.worker, str(job), *overrides],
                env=_environment(outcome),
                stdin=subprocess.DEVNULL,
                stdout=self.stdout,
                process_group=0,  # Ctrl-C reaches this process alone, which passes it on once
            )
            if self.stopped:
                self._child.send_signal(signal.SIGINT)
            return self._child.wait()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """While a job runs, a signal to stop goes to the job, which saves and ends."""
        before = {
            number: signal.signal(number, self._pass_on) for number in STOPS if heeded(number)
        }
        try:
            yield
        finally:
            self._child = None
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self._child is not None:
            self._child.send_signal(signal.SIGINT)


def table(points: Sequence[Point]) -> str:
    """The points as text: what varied, what became of it, its figures and its folder."""
    from rich.console import Console
    from rich.table import Table

    figures = list(dict.fromkeys(name for p in points for name in p.headline))
    shown = Table(box=None, pad_edge=False)
    for title in ("", "point", "status", *figures, "run folder", "seconds"):
        shown.add_column(title, overflow="fold", justify="right" if title in figures else "left")
    for number, (point, label) in enumerate(zip(points, varied(points), strict=True), start=1):
        status = WORDS[point.status]
        if point.message:
            said = point.message.removeprefix(status).lstrip(", ")
            status = f"{status}: {said}" if said else status
        values = [_figure(point.headline.get(name)) for name in figures]
        shown.add_row(str(number), label, status, *values, point.folder, f"{point.seconds:.1f}")
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=200)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def varied(points: Sequence[Point]) -> list[str]:
    """Each point's overrides less those that all points share (all of them, for one point)."""
    if len(points) == 1:
        return [" ".join(points[0].overrides)]
    shared = set(points[0].overrides).intersection(*(p.overrides for p in points))
    return [" ".join(o for o in p.overrides if o not in shared) for p in points]


def _point(
    overrides: tuple[str, ...], code: int, outcome: Mapping[str, Any], seconds: float
) -> Point:
    message = str(outcome.get("message", ""))
    if code == 0:
        status = "skipped" if outcome.get("status") == "skipped" else "done"
    else:
        status = "stopped" if code == 130 else "failed"
        message = message or _died(code)
    return Point(
        overrides,
        status,
        seconds,
        str(outcome.get("folder", "")),
        outcome.get("headline") or {},
        message,
    )


def _died(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def package_path() -> str:
    """A PYTHONPATH on which a child finds this very package, also from a bare checkout."""
    home = str(Path(bvrank.__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))


def _environment(outcome: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("HYDRA_FULL_ERROR", "BVRANK_SCRATCH")}
    return kept | {"PYTHONPATH": package_path(), VARIABLE: str(outcome)}


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
