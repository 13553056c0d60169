"""What happens after a step: evaluating, logging, saving, stopping."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.commands.guard import STOPS, heeded
from bvrank.commands.sections import Checkpoint
from bvrank.protocols import Tracker
from bvrank.ranks import ALONE, Ranks
from bvrank.records import StepReport


@dataclass
class Recorder:
    """Evaluates every `eval_every` steps and at the end, and logs every `log_every` steps, the
    first and the last; what was evaluated or measured is always logged."""

    tracker: Tracker
    steps: int
    log_every: int
    eval_every: int
    evaluate: Callable[[int, Mapping[str, float]], dict[str, float]] | None
    latest: dict[str, float] = field(default_factory=dict)

    def __call__(self, state: TrainState, report: StepReport) -> None:
        values = dict(report.values)
        due = self.eval_every and state.step % self.eval_every == 0
        if self.evaluate and (due or state.step == self.steps):
            values |= self.evaluate(state.step, state.fields)
        self.latest = values
        ends = state.step in (1, self.steps)
        told = "eval/loss" in values or any(name.startswith("probe/") for name in values)
        if ends or state.step % self.log_every == 0 or told:
            self.tracker.log(StepReport(state.step, values))


@dataclass
class Saver:
    """Checkpoints every n steps and at the end; keeps the newest few and the best."""

    folder: Path
    engine: Any
    settings: Checkpoint
    steps: int
    recorder: Recorder

    def __call__(self, state: TrainState, report: StepReport) -> None:
        better = self._better(state)
        due = self.settings.every and state.step % self.settings.every == 0
        if better or due or state.step == self.steps:
            self.save(state)

    def save(self, state: TrainState) -> None:
        """Writes the state as it is now, unless that was done already."""
        ranks, place = self.engine.ranks, self.folder / f"step-{state.step:06d}"
        if ranks.agree(ranks.first and checkpoint.damage(place) is None):
            return
        checkpoint.save(self.folder, self.engine, state)
        if ranks.first:
            checkpoint.prune(self.folder, self.settings.keep, state.best_step)

    def _better(self, state: TrainState) -> bool:
        name = self.settings.best
        if name is None:
            return False
        if name not in self.recorder.latest:
            if name.startswith("eval/") and "eval/loss" not in self.recorder.latest:
                return False  # not evaluated at this step
            return False  # a view that the objective does not read at this step of a schedule
        if state.best_name != name:  # a resumed run may ask for another metric than it began with
            state.best, state.best_step, state.best_name = None, None, name
        value = self.recorder.latest[name]
        if not math.isfinite(value):
            return False
        lower = any(word in name for word in ("loss", "nll", "grad_norm"))
        if state.best is not None and not (value < state.best if lower else value > state.best):
            return False
        state.best, state.best_step = value, state.step
        return True


class Stopping:
    """Turns the first signal of STOPS into a wish the trainer reads; a second ends at once. Ranks
    agree: one that was told stops all at the same point."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self.ranks, self.wished = ranks, False

    def __call__(self) -> bool:
        if self.ranks.world == 1:
            return self.wished
        return bool(self.ranks.sum(torch.tensor(float(self.wished))) > 0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While active, signals are heard. Outside the main thread nothing changes."""
        try:
            before = {n: signal.signal(n, self._hear) for n in STOPS if heeded(n)}
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
