"""What the faults are tried on: a small version of the default run, whole, warm and half done."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bvrank.run.store import damage
from tests.trials import Request
from tests.trials.ends import last_step, status, unlike
from tests.trials.process import Done, Running, run

# Every stage of the default run, in seconds: taught, sampled, measured, trained, measured.
WORDS = (
    "train", "objective=bvpo", "steps=8", "checkpoint.every=3", "name=run", "model.teach.steps=60",
    "model.hidden_size=64", "model.layers=2", "data.problems=300", "data.test_problems=64",
    "data.test_samples=2",
)  # fmt: skip
KINDS = ("models", "pairs", "accuracy", "reference")


@dataclass(frozen=True)
class Place:
    """One trial: where its run and its store are, and the words that start it."""

    folder: Path
    outputs: Path
    store: Path
    overrides: tuple[str, ...]
    base: tuple[str, ...] = WORDS

    @property
    def run(self) -> Path:
        return self.outputs / "run"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.base, f"outputs={self.outputs}", f"store={self.store}", *self.overrides)

    def start(self, *more: str) -> Running:
        """The command, running."""
        return Running(self.logs, (*self.words, *more))

    def once(self, *more: str) -> Done:
        """The command, from start to end."""
        return run(self.logs, (*self.words, *more))

    def left(self) -> str:
        """What a fault left: the run's state, and anything half-written."""
        half = [p.name for root in (self.store, self.outputs) if root.is_dir()
                for p in root.rglob("*") if p.name.endswith((".tmp", ".part", ".old"))]  # fmt: skip
        parts = ["no run folder"]
        if (self.run / "manifest.json").is_file():
            kept = sorted(p.name for p in self.run.glob("checkpoints/step-*"))
            parts = [f"run {status(self.run)}, {', '.join(kept) or 'no checkpoint'}"]
        return ", ".join([*parts, *(f"half-written {name}" for name in half)])


@dataclass
class Row:
    """One fault: what was said, with which code, what it left, and where the run ended after the
    repair. `wrong` says what is not as it should be."""

    fault: str
    stage: str
    said: str = ""
    code: int | None = None
    left: str = ""
    end: str = ""
    wrong: str = ""
    skipped: str = ""

    @property
    def name(self) -> str:
        """A folder's name."""
        return re.sub(r"\W+", "-", f"{self.fault} {self.stage}")


class Bench:
    """`whole`: a finished run; `store`: all that it needed."""

    def __init__(self, request: Request) -> None:
        self.folder, self.overrides = request.folder, request.overrides
        whole = self.place("whole", warm=False)
        done = whole.once()
        if done.code:
            raise RuntimeError(f"the run that nothing befalls failed: {done.err}")
        self.whole, self.store = whole.run, whole.store

    @cached_property
    def half(self) -> Path:
        """The run, killed with two checkpoints behind it."""
        half = self.place("half")
        running = half.start()
        running.wait_for(lambda: last_step(half.run) >= 7)
        running.kill()
        return half.run

    def place(self, name: str, *, warm: bool = True, half: bool = False,
              outputs: Path | None = None, store: Path | None = None) -> Place:  # fmt: skip
        """A new trial; `warm`: the store holds everything; `half`: the run is half done."""
        folder = self.folder / name
        found = Place(folder, outputs or folder / "outputs", store or folder / "store",
                      self.overrides)  # fmt: skip
        if warm:
            shutil.copytree(self.store, found.store, dirs_exist_ok=True)
        if half:
            shutil.copytree(self.half, found.run, dirs_exist_ok=True)
        return found

    def ends(self, place: Place, row: Row, *more: str) -> Row:
        """Runs the repaired command and says whether it reaches the end of the whole run."""
        done = place.once(*more)
        differ = (
            unlike(self.whole, place.run) if done.code == 0 else [f"exit {done.code}: {done.said}"]
        )
        row.end = "same" if not differ else ", ".join(differ)
        if differ:
            row.wrong = row.wrong or "another end"
        if broken := damaged(place.store):
            row.wrong = row.wrong or f"store: {broken[0]}"
        return row


def damaged(store: Path) -> list[str]:
    """Entries of the store that are not whole."""
    entries = [p for kind in KINDS if kind != "reference" for p in (store / kind).glob("*")]
    return [f"{p}: {problem}" for p in entries if (problem := damage(p)) is not None]


def told(row: Row, place: Place, done: Done, code: int, words: str = "") -> Row:
    """Fills in how the broken command ended, and whether that is one clear line."""
    row.said, row.code, row.left = done.said, done.code, place.left()
    if done.code != code:
        row.wrong = f"exit code {done.code}, not {code}: {done.err[-300:]}"
    elif code and not done.clear:
        row.wrong = "not one clear line"
    elif words not in done.said:
        row.wrong = f"does not say '{words}'"
    elif "half-written" in row.left:
        row.wrong = "left something half-written"
    return row


Fault = Callable[[Bench, Row], Row]
