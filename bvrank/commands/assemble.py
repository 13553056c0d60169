"""From settings and nodes to what the trainer takes: rows, policy, reference, stream."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from bvrank.commands import intake
from bvrank.commands.counting import NO_PREFERENCE_TOLD, counted, outcome_of, teaching
from bvrank.commands.intake import Material, chunks, encoded
from bvrank.commands.settings import Intake, TrainSettings
from bvrank.data.batches import Stream
from bvrank.data.loader import Order, streams_of
from bvrank.data.refusals import NO_PREFERENCE, check_refused
from bvrank.data.shelf import has_view, longest_of, taken
from bvrank.data.split import divided
from bvrank.errors import DataError
from bvrank.objectives.schedule import Schedule
from bvrank.protocols import Measure
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Encoded, Example, Refused
from bvrank.scoring.collate import Collator
from bvrank.scoring.reference import Reference, ReferenceStore
from bvrank.scoring.scorer import cost_of, packing, text_config
from bvrank.tracking.progress import phase
from bvrank.trainer import Plan

# As the store knows them: what came of another computation has other last bits.
LAYOUTS = {"forest": "blocks", "flex": "flex", "masked": "masked", "padded": "branches"}
TOLERANCE = {"fp64": 1e-9, "fp32": 1e-4, "bf16": 5e-3}  # nats per token, policy against reference


@dataclass(frozen=True)
class Rows:
    """Encoded rows, what was refused, and whether views are drawn as separate streams."""

    train: Sequence[Encoded]
    held_out: Sequence[Encoded]
    refused: list[Refused]
    independent: bool

    def some_held_out(self, views: tuple[str, ...], limit: int | None) -> Sequence[Encoded]:
        """The first `limit` held-out rows; of each view, where views are drawn apart."""
        if limit is None or not self.independent:
            return self.held_out[:limit]
        numbers = [np.flatnonzero(has_view(self.held_out, view))[:limit] for view in views]
        return taken(self.held_out, np.concatenate(numbers))


def texts_of(source: Any) -> Iterator[str]:
    """Every text of a source, for a tokenizer to be trained on. DataError when all its rows are
    refused."""
    refused, some = [], False
    for row in source.rows():
        if isinstance(row, Refused):
            refused.append(row)
        else:
            some = True
            yield from (m.content for m in row.prompt)
            for candidate in row.candidates:
                yield from (t for t in (candidate.trace, candidate.answer) if t)
    if refused and not some:
        check_refused(0, refused, 0.0, "data")


@dataclass(frozen=True)
class Half:
    """What trains, or what is held out: how many rows were found, those that count, those that do
    not; `examples` only where they were asked for."""

    found: int
    kept: Sequence[Encoded]
    refused: list[Refused]
    examples: Sequence[Example | Refused] = ()


def encoded_rows(material: Material, schedule: Schedule, where: str, store: Path) -> Rows:
    """Tree by tree what trains and what is held out. DataError when too much was refused."""
    train, held = (_counting(half, schedule) for half in encoded(material, store))
    check_half(train, material.intake, schedule, where)
    if held.found:
        check_half(held, material.intake, schedule, f"{where} (held out)")
    independent = getattr(material.source, "pairing", None) == "independent"
    apart = independent and len(schedule.views()) > 1
    return Rows(train.kept, held.kept, [*train.refused, *held.refused], apart)


def halves(material: Material, schedule: Schedule) -> tuple[Half, Half]:
    """(train, held out), with their examples, whatever was refused."""
    sides: tuple[list[Example | Refused], ...] = ([], [])
    fraction = material.intake.eval_fraction
    for held, row in divided(material.source, material.held_source, fraction, material.seed):
        sides[held].append(row)

    def half(rows: Sequence[Example | Refused]) -> Half:
        found = [item for part in chunks(rows) for item in material.encoder().chunk(part)]
        refused = [item for item in found if isinstance(item, Refused)]
        useful, useless = teaching([i for i in found if isinstance(i, Encoded)], schedule)
        return Half(len(rows), useful, [*refused, *useless], rows)

    return half(sides[0]), half(sides[1])


def _counting(half: intake.Half, schedule: Schedule) -> Half:
    """Rows that count for the objective somewhere along the run, and those that never do."""
    counts = counted(half.rows, schedule)
    never = [
        Refused(half.rows.where(i), NO_PREFERENCE, NO_PREFERENCE_TOLD)
        for i in np.flatnonzero(~counts).tolist()
    ]
    rows = half.rows if counts.all() else half.rows.take(np.flatnonzero(counts))
    return Half(half.found, rows, [*half.refused, *never])


def check_half(half: Half, intake: Intake, schedule: Schedule, where: str) -> None:
    """DataError when too much was refused, or no row has a view that the objective reads."""
    check_refused(len(half.kept), half.refused, intake.max_refused, where)
    _check_views(half.kept, schedule.views(), where)


def metric_names(schedule: Schedule, rows: Rows) -> set[str]:
    """The names under which a run logs figures, those of held-out rows included."""
    names = {"loss"}
    for objective in schedule.variants():
        metrics = outcome_of(objective, rows.train[:1]).metrics
        names |= {*metrics, *(f"{view}/{name}" for view in objective.views for name in metrics)}
    held_out = {f"eval/{name}" for name in names} if rows.held_out else set()
    estimated = {"alpha"} if getattr(schedule.objective, "alpha", None) == "auto" else set()
    moving = {f"schedule/{f}" for f in (*schedule.points, *estimated)}
    return names | held_out | {"grad_norm", "lr"} | moving


def check_positions(rows: Rows, model: Any) -> None:
    """DataError when a row is longer than the model's positions reach, or than those reach whose
    angles do not depend on what else is in the batch."""
    config = text_config(model)
    bounds = (
        (getattr(config, "max_position_embeddings", None), ""),
        (longrope_end(config), " before longrope turns all of a batch by other angles"),
    )
    halves = [longest_of(half) for half in (rows.train, rows.held_out) if len(half)]
    longest = max(halves, key=lambda row: row.longest)
    for most, why in bounds:
        if most is not None and longest.longest > most:
            raise DataError(
                f"{longest.longest:,} tokens, but the model has {most:,} positions{why}",
                where=longest.where, repair=f"Set data.max_length={most}.",
            )  # fmt: skip


def longrope_end(config: Any) -> int | None:
    """The positions from which on longrope computes with other factors; None without longrope."""
    given = getattr(config, "rope_parameters", None) or {}
    kinds = [given, *(part for part in given.values() if isinstance(part, dict))]
    ends = [
        part.get("original_max_position_embeddings")
        for part in kinds
        if part.get("rope_type") == "longrope"
    ]
    return min((end for end in ends if end), default=None)


def _check_views(rows: Sequence[Encoded], views: tuple[str, ...], where: str) -> None:
    for view in views:
        if not has_view(rows, view).any():
            raise DataError(
                f"the objective reads the view {view}, but no row has it", where=where,
                repair="Choose an objective of the other view alone; with data=pairs the bare view "
                "comes from data.bare_path, or from data.bare_from=reuse.",
            )  # fmt: skip


def collator(model: Any, settings: TrainSettings, device: torch.device) -> Collator:
    """The layout as set, with this model's costs, for what `device` computes."""
    layout = packing(model, settings.scoring.layout, device)
    return Collator(layout, cost_of(model), settings.scoring.unshifted)


def reference_of(rows: Sequence[Encoded], engine: Any, collate: Collator, settings: TrainSettings,
                 store: Path, identity: str, title: str = "reference") -> Reference:  # fmt: skip
    """The reference phase: log-probs of the policy as loaded (`identity` is its), from the store
    where they are."""
    attention = engine.module.model.config._attn_implementation
    parts = (identity, settings.precision, attention, LAYOUTS[collate.layout],
             engine.device.type, torch.__version__, transformers.__version__)  # fmt: skip
    shift = ("unshifted",) if settings.scoring.unshifted else ()
    entries = ReferenceStore(store, "|".join(map(str, (*parts, *shift))))
    for path in entries.damaged:
        print(f"store: {path} is not what was written; it is made again", file=sys.stderr)
        with contextlib.suppress(OSError):
            path.unlink()
    engine.module.eval()
    with torch.no_grad(), phase(title, len(rows)) as shown:
        found = entries.fill(rows, engine.score, collate, shown.advance, engine.ranks)
    engine.module.train()
    return found


def stream(rows: Sequence[Encoded], reference: Reference | None, collate: Collator,
           views: tuple[str, ...], settings: TrainSettings, *, independent: bool = False,
           ranks: Ranks = ALONE, one_pair: bool = False) -> Stream:  # fmt: skip
    """This rank's stateless stream of batches; independent pairing draws each of `views` apart."""
    streams = streams_of(rows, views, independent=independent)
    order = Order(streams, settings.seed, settings.batch)
    values = None if reference is None else reference.values
    micro = settings.per_forward(ranks.world)
    return Stream(rows, values, order, collate, micro, ranks.rank, ranks.world,
                  settings.micro_tokens, one_pair)  # fmt: skip


def plan_of(schedule: Schedule, settings: TrainSettings, measure: Measure | None = None) -> Plan:
    """Learning rate, objective and scheduled fields by step."""

    def progress(step: int) -> float:
        return (step - 1) / max(settings.steps - 1, 1)

    plan = Plan(
        steps=settings.steps,
        learning_rate=learning_rate(settings),
        objective=lambda step: schedule.at(progress(step)),
        fields=lambda step: schedule.values(progress(step)),
        reduction=settings.trainer.reduction,
    )
    return plan if measure is None else replace(plan, measure=measure)


def learning_rate(settings: TrainSettings) -> Callable[[int], float]:
    """Rises evenly over the warm-up's steps, then falls by the shape; never 0 on a step."""
    peak, steps, shape = settings.optimizer.lr, settings.steps, settings.scheduler.shape
    warm = math.ceil(round(settings.scheduler.warmup * steps, 9))  # 0.07 * 100 is 7.000000000000001

    def rate(step: int) -> float:
        if step <= warm:
            return peak * step / warm
        gone = (step - max(warm, 1)) / (steps - max(warm, 1) + 1)
        if shape == "constant":
            return peak
        return peak * (1 - gone if shape == "linear" else (1 + math.cos(math.pi * gone)) / 2)

    return rate
