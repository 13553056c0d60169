"""Gradients of single views, measured before some steps: what they are, and what alpha follows.

A phase of its own: forwards in eval mode, gradients that are projected and forgotten. Nothing of it
is left in the engine, so that a run that only looks on is bit for bit the run that does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bvrank.data.halves import Group, Halves, traces
from bvrank.engines.live import untouched
from bvrank.engines.sketch import Sketch
from bvrank.objectives.crossfit import Running, Scale, figures, phase
from bvrank.objectives.marginal import over_traces
from bvrank.protocols import Engine, Objective
from bvrank.records import BARE, FULL, Measured, Preferences, TokenBatch

START = 0.5  # alpha as long as nothing is known: the paper's
Filled = Callable[[Sequence[TokenBatch]], Sequence[TokenBatch]]


@dataclass(frozen=True)
class Auto:
    """alpha=auto: a new estimate every `every` steps, averaged with a weight of `memory` for what
    was known, and clipped to [low, high]."""

    every: int
    memory: float
    low: float
    high: float


@dataclass(frozen=True)
class Probe:
    """protocols.Measure. `filled` gives batches their reference; `every` (0: never): steps between
    measurements that are only logged; `batch`: examples of an optimiser step."""

    halves: Halves
    filled: Filled
    batch: int
    every: int
    dimension: int
    seed: int
    auto: Auto | None = None

    def __call__(self, number: int, objective: Objective, engine: Engine,
                 known: Mapping[str, float]) -> Measured:  # fmt: skip
        """Before steps 1, 1 + every, ...; alpha follows from what is known so far."""
        auto = self.auto
        estimating = auto is not None and (number - 1) % auto.every == 0
        running, values = Running.of(known), dict[str, float]()
        if estimating or (self.every and (number - 1) % self.every == 0):
            start = time.perf_counter()
            values, running = self._measured(number, objective, engine, running, estimating)
            values["speed/probe_seconds"] = time.perf_counter() - start
        if auto is None:
            return Measured(values)
        if running is None:
            return Measured(values, {"alpha": _clipped(math.nan, auto)})
        return Measured(values, {"alpha": _clipped(running.alpha, auto)}, running.kept())

    def _measured(self, number: int, objective: Objective, engine: Engine,
                  running: Running | None, estimating: bool
                  ) -> tuple[dict[str, float], Running | None]:  # fmt: skip
        groups = self.halves.phase(number)
        sketch = Sketch(self.dimension, self.seed + number)
        with untouched(engine.module, engine.device):
            found = self._gradients(groups, objective, engine, sketch, estimating)
        if not all(bool(x.isfinite().all()) for x in found.values()):
            return {"probe/failed": 1.0}, running  # it leaves alpha where it was
        scales = {v: self._scale(objective, groups, v) for v in objective.views}
        values = figures({v: found[v] for v in objective.views}, scales)
        if estimating and self.auto is not None:
            lossy = self.dimension if found[FULL].shape[-1] == self.dimension else None
            new = phase(found[BARE], found[FULL], found["marginal"], scales[FULL], lossy)
            running = Running.after(running, new, self.auto.memory, len(groups))
            low, high = running.interval
            values |= {"alpha": running.alpha, "alpha_stderr": running.stderr,
                       "alpha_low": low, "alpha_high": high}  # fmt: skip
        return {f"probe/{n}": v for n, v in values.items() if math.isfinite(v)}, running

    def _gradients(self, groups: Sequence[Group], objective: Objective, engine: Engine,
                   sketch: Sketch, estimating: bool) -> dict[str, Tensor]:  # fmt: skip
        """Of each view [H,G,D], and of the marginal loss [2,G,D] under that name."""
        found: dict[str, Tensor] = {}
        for view in objective.views:
            halves = (0, 1) if view in self.halves.traced else (None,)
            apart = estimating and view == FULL and several(groups, view)
            loss = loss_of(objective, view)
            losses = [loss, lambda prefs, loss=loss: loss(over_traces(prefs))][: 1 + apart]
            parts = [self._of_groups(groups, view, h, losses, engine, sketch) for h in halves]
            found[view] = torch.stack([p[0] for p in parts])
            if estimating and view == FULL:  # the marginal of one trace is its loss
                found["marginal"] = torch.stack([p[-1] for p in parts])
        return found

    def _of_groups(self, groups: Sequence[Group], view: str, half: int | None,
                   losses: Sequence[Any], engine: Engine, sketch: Sketch) -> Tensor:  # fmt: skip
        """[L,G,D]: of the mean loss over each group's share of what counts. Ranks share groups."""
        size = sketch.size(engine.module)
        table = torch.zeros(len(losses), len(groups), size + 1, dtype=torch.float64)
        for g in range(engine.ranks.rank, len(groups), engine.ranks.world):
            for batch in self.filled(list(self.halves.forwards(groups[g], view, half))):
                closure = _Summed(losses, batch, engine)
                table[:, g, :size] += engine.gradients(closure.batch, closure, sketch)
                table[:, g, size] += closure.count
        table = engine.ranks.sum(table)
        counts = table[..., size].mean(1, keepdim=True).clamp(min=1)
        return table[..., :size] / counts.unsqueeze(-1)

    def _scale(self, objective: Objective, groups: Sequence[Group], view: str) -> Scale:
        """As of crossfit.Scale: a loss that reads every trace has less variance of a whole row."""
        share = len(groups[0]) / self.batch
        if not getattr(loss_of(objective, view), "every_trace", False):
            return Scale(share)
        sizes = [n for g in groups for e in g for r in e for n in traces(r.tree, view)]
        return Scale(share, sum(n // 2 / n for n in sizes) / len(sizes))


class _Summed:
    """The losses of a batch of one view as sums, given its log-probs; `count`: what they are means
    over, known behind the call."""

    def __init__(self, losses: Sequence[Any], batch: TokenBatch, engine: Engine) -> None:
        self.losses, self.batch = losses, batch
        self.labels: Preferences = replace(batch, rows=()).to(engine.device).labels
        self.count = 0.0

    def __call__(self, policy: Tensor) -> list[Tensor]:
        prefs = replace(self.labels, policy=policy)
        outcomes = [loss(prefs) for loss in self.losses]
        self.count = float(outcomes[0].count.sum())
        return [o.loss.sum() for o in outcomes]


def several(groups: Sequence[Group], view: str) -> bool:
    """Whether a half holds two traces of an answer, so that the marginal's loss is another one."""
    return any(n > 3 for g in groups for e in g for r in e for n in traces(r.tree, view))


def loss_of(objective: Any, view: str) -> Any:
    """The loss of one view: what a mix has `on` it, or the objective itself."""
    return objective.on(view) if hasattr(objective, "on") else objective


def _clipped(alpha: float, auto: Auto) -> float:
    return min(max(START if math.isnan(alpha) else alpha, auto.low), auto.high)
