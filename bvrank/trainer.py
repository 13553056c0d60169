"""The loop. It knows records and protocols: no objective, data set, model or engine by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.errors import Interrupted, ModelError, TrainingError
from bvrank.protocols import Batches, Engine, Measure, Objective
from bvrank.records import Measured, Outcome, StepReport, TokenBatch

Hook = Callable[[TrainState, StepReport], None]
Reduction = Literal["global", "microbatch_sum"]
LOSS, TOLD = "\0loss", "\0told "  # beside the objective's own names; TOLD before one of them


@dataclass(frozen=True)
class Plan:
    """What changes with the step (1-based): learning rate, objective, its scheduled fields.

    `measure` is asked before every step, and what it finds may set fields of the objective.
    `reduction` of a step's losses: `global` divides by the count of the whole batch;
    `microbatch_sum`, a defect of the official IRPO code, sums inside a micro-batch and averages
    over micro-batches, so that the gradient grows with the size of one. What is logged is the mean
    either way.
    """

    steps: int
    learning_rate: Callable[[int], float]
    objective: Callable[[int], Objective]
    fields: Callable[[int], dict[str, float]]
    reduction: Reduction = "global"
    measure: Measure = field(default=lambda number, objective, engine, known: Measured())


def train(plan: Plan, batches: Batches, engine: Engine, state: TrainState,
          hooks: Sequence[Hook], stop: Callable[[], bool] = lambda: False) -> None:  # fmt: skip
    """Runs steps state.step + 1 .. plan.steps. Raises Interrupted, with weights, moments and
    random state as they were after the last whole step, once `stop` says so."""
    engine.module.train()
    while state.step < plan.steps:
        number = state.step + 1
        state.rng = checkpoint.rng_state()
        found = plan.measure(number, plan.objective(number), engine, state.known)
        objective = with_fields(plan.objective(number), found.fields)
        micro_batches = list(batches.step(number, objective.views))
        try:
            rate = plan.learning_rate(number)
            values = optimise(engine, objective, micro_batches, rate, stop, plan.reduction)
        except Interrupted:
            engine.discard()
            checkpoint.set_rng(state.rng)
            raise
        state.step, state.rng, state.known = number, checkpoint.rng_state(), dict(found.known)
        state.fields = {**plan.fields(number), **found.fields}
        scheduled = {f"schedule/{name}": value for name, value in state.fields.items()}
        for hook in hooks:
            hook(state, StepReport(number, {**values, **scheduled, **found.values}))


def with_fields(objective: Any, fields: Mapping[str, float]) -> Objective:
    """The objective with these fields set."""
    changed: Objective = replace(objective, **fields) if fields else objective
    return changed


def optimise(engine: Engine, objective: Objective, batches: Sequence[TokenBatch],
             learning_rate: float, stop: Callable[[], bool], reduction: Reduction = "global"
             ) -> dict[str, float]:  # fmt: skip
    """One optimiser step over its micro-batches; returns what is logged."""
    start = time.perf_counter()
    counts = global_counts(engine, objective, batches)
    parts = counts if reduction == "global" else present_forwards(engine, objective, batches)
    parts = parts.to(engine.device)  # once: such a copy waits for all that was queued
    totals = Totals(objective.views)
    engine.expect(len(batches))
    for batch in batches:
        if stop():
            raise Interrupted("stopped", repair="Continue with resume=true.")
        outcome = score(engine, objective, batch)
        engine.backward(share(outcome, parts))
        totals.add(outcome, batch)
    values, tokens, examples = totals.values(engine, counts)
    _stop_unless_finite(engine, values["loss"], "loss", lambda: totals.not_finite(batches))
    norm = engine.step(learning_rate)
    every = [w for b in batches for w in b.where]
    _stop_unless_finite(engine, norm, "gradient norm", lambda: every)
    seconds = time.perf_counter() - start
    speed = {
        "speed/seconds": seconds,
        "speed/tokens_per_second": tokens / seconds,
        "speed/examples_per_second": examples / seconds,
    }
    return values | {"lr": learning_rate, "grad_norm": norm} | speed


def evaluate(engine: Engine, objective: Objective, batches: Iterable[TokenBatch]
             ) -> dict[str, float]:  # fmt: skip
    """The objective's loss and metrics over held-out batches, names under eval/."""
    whole = list(batches)
    counts = global_counts(engine, objective, whole)
    totals = Totals(objective.views)
    engine.module.eval()
    with torch.no_grad():
        for batch in whole:
            totals.add(score(engine, objective, batch), batch)
    engine.module.train()
    values, _, _ = totals.values(engine, counts)
    return {f"eval/{name}": value for name, value in values.items()}


def score(engine: Engine, objective: Objective, batch: TokenBatch) -> Outcome:
    """The objective's outcome on one micro-batch."""
    policy = engine.score(batch)
    labels = replace(batch, rows=()).to(policy.device).labels
    return objective(replace(labels, policy=policy))


def share(outcome: Outcome, counts: Tensor) -> Tensor:
    """What this micro-batch adds to the global loss: each view's sum over its global count."""
    return (outcome.loss.sum(1) / counts.clamp(min=1)).sum()


def global_counts(engine: Engine, objective: Objective, batches: Sequence[TokenBatch]) -> Tensor:
    """Denominators [V] over all micro-batches and ranks."""
    return engine.ranks.sum(_counts(objective, batches).sum(0))


def present_forwards(engine: Engine, objective: Objective, batches: Sequence[TokenBatch]
                     ) -> Tensor:  # fmt: skip
    """The micro-batches [V] of all ranks in which a view counts at all."""
    return engine.ranks.sum((_counts(objective, batches) > 0).double().sum(0))


def _counts(objective: Objective, batches: Sequence[TokenBatch]) -> Tensor:
    """Counts [micro-batches, V]. They do not depend on the policy, so a stand-in policy yields
    them before any forward pass."""
    counts = torch.zeros(len(batches), len(objective.views), dtype=torch.float64)
    for row, batch in zip(counts, batches, strict=True):
        stand_in = -batch.labels.length.double()
        row += objective(replace(batch.labels, policy=stand_in)).count.sum(1)
    return counts


def check_against_reference(engine: Engine, batch: TokenBatch, tolerance: float) -> float:
    """max |policy - reference| per token before step 1, where the two are one model.

    ModelError above `tolerance` (nats): stored reference, template or masks are not what trains.
    """
    engine.module.eval()
    with torch.no_grad():
        policy = engine.score(batch).cpu()
    engine.module.train()
    labels = batch.labels
    gap = (policy - labels.reference).abs() / labels.length.clamp(min=1)
    own = torch.where(labels.valid, gap, 0.0).max()
    worst = float(torch.tensor(engine.ranks.gather(float(own))).max())  # NaN stays NaN
    if not worst <= tolerance:
        raise ModelError(
            f"before step 1 policy and reference differ by {worst:.3g} nats per token, "
            f"more than {tolerance:.1g}", where="scoring",
            repair="The store may hold values of another model: set store= to an empty folder.",
        )  # fmt: skip
    return worst


class Totals:
    """Sums of an outcome's loss and metrics over micro-batches, per view."""

    def __init__(self, views: tuple[str, ...]) -> None:
        self.views = views
        self.sums: dict[str, Tensor] = {}
        self.bad: list[Tensor] = []
        self.tokens = self.examples = 0

    def add(self, outcome: Outcome, batch: TokenBatch) -> None:
        present = outcome.count > 0  # [V,B]
        loss = outcome.loss.detach()
        self.bad.append(~torch.isfinite(loss).all(0))
        self._grow(LOSS, loss)
        for name, metric in outcome.metrics.items():
            told = present & ~metric.isnan()  # a row may have nothing to say of a metric
            self._grow(name, torch.where(told, metric.double(), 0.0))
            self._grow(TOLD + name, told.double())
        self.tokens += batch.tokens
        self.examples += len(batch.where)

    def not_finite(self, batches: Sequence[TokenBatch]) -> list[str]:
        """The examples whose loss is not finite."""
        flags = zip(self.bad, batches, strict=True)
        return [
            w for bad, b in flags for w, is_bad in zip(b.where, bad.tolist(), strict=True) if is_bad
        ]

    def values(self, engine: Engine, counts: Tensor) -> tuple[dict[str, float], float, float]:
        """Means over all ranks: per view under `<view>/`, pooled without a prefix, and `loss`; then
        the tokens and examples of all ranks. One exchange between them, whatever there is."""
        own = torch.tensor([self.tokens, self.examples], dtype=torch.float64)
        packed = torch.cat([*(t.double().cpu() for t in self.sums.values()), own])
        widths = [len(self.views)] * len(self.sums) + [2]
        *parts, last = torch.split(engine.ranks.sum(packed), widths)
        sums = dict(zip(self.sums, parts, strict=True))
        loss = sums.pop(LOSS)
        out: dict[str, float] = {}
        for name in [n for n in sums if not n.startswith(TOLD)]:
            total, told = sums[name], sums[TOLD + name]
            if told.sum() > 0:
                out[name] = float(total.sum() / told.sum())
            for v, view in enumerate(self.views):
                if told[v] > 0:
                    out[f"{view}/{name}"] = float(total[v] / told[v])
        out["loss"] = float((loss / counts.cpu().clamp(min=1)).sum())
        return out, float(last[0]), float(last[1])

    def _grow(self, name: str, part: Tensor) -> None:
        total = part.sum(1)  # [V]
        self.sums[name] = self.sums[name] + total if name in self.sums else total


def _stop_unless_finite(engine: Engine, value: float, name: str, rows: Callable[[], list[str]]
                        ) -> None:  # fmt: skip
    """TrainingError with the rows at fault on any rank; `value` is the same on all."""
    if math.isfinite(value):
        return
    found = [w for own in engine.ranks.gather(rows()) for w in own]
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    raise TrainingError(
        f"the {name} is {value} on rows {shown}",
        repair="The weights were left as they were before this step. Lower optimizer.lr or "
        "objective.beta, or look at these rows with bvrank inspect.",
        rows=found,
    )
