"""The measurement of a run's gradients: on which rows, and how it is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bvrank.commands.measuring import estimated
from bvrank.data.batches import paired
from bvrank.data.halves import Halves, traced
from bvrank.data.loader import Order
from bvrank.data.shelf import has_view, taken
from bvrank.engines.probing import Auto, Probe, loss_of, several
from bvrank.errors import ConfigError
from bvrank.records import FULL, Encoded
from bvrank.scoring.collate import Collator

if TYPE_CHECKING:
    from bvrank.commands.settings import TrainSettings


LEAST = 30  # steps between estimates of alpha, unless set
COST = 0.04  # of a run's tokens, for estimates; their small forwards take longer than a step's


@dataclass(frozen=True)
class Drawing:
    """What a measurement draws: row numbers of its streams, and the views in which every row has
    two traces of each answer."""

    streams: tuple[np.ndarray, ...]
    traced: tuple[str, ...]


def size(settings: TrainSettings) -> int:
    """Examples of a measurement: a step's batch in equal groups, of one example at least."""
    groups = settings.probe.gradients.groups
    return groups * max(1, settings.batch // groups)


def drawing_of(rows: Sequence[Encoded], drawn: np.ndarray, settings: TrainSettings, objective: Any,
               views: tuple[str, ...], *, independent: bool) -> Drawing:  # fmt: skip
    """Out of the rows that the run's steps draw. ConfigError where there are too few."""
    least = size(settings)
    some = taken(rows, drawn)
    has = {view: has_view(some, view) for view in views}
    double = traced(some, FULL) if FULL in views else np.zeros(len(some), bool)
    if not independent and (estimated(objective) or (double & _all(has)).sum() >= least):
        double &= _all(has)
    if estimated(objective) and double.sum() < least:
        raise _too_few_traces(int(double.sum()), int(has[FULL].sum()), least)
    use = double.sum() >= least and hasattr(loss_of(objective, FULL), "every_trace")
    if use:
        has[FULL] = double
    streams = tuple(has.values()) if independent else (double if use else _any(has),)
    if min(int(s.sum()) for s in streams) < least:
        raise _too_few(min(int(s.sum()) for s in streams), settings)
    return Drawing(tuple(drawn[s] for s in streams), (FULL,) if use else ())


def probe_of(found: Drawing, rows: Sequence[Encoded], reference: Any, filled: Any,
             collate: Collator, settings: TrainSettings, objective: Any, world: int
             ) -> Probe:  # fmt: skip
    """The measurement, as trainer.Plan takes it."""
    asked, auto = settings.probe.gradients, settings.auto
    order = Order(found.streams, settings.seed, size(settings))
    micro = min(settings.per_forward(world), size(settings) // asked.groups)
    halves = Halves(rows, reference, order, collate, asked.groups, micro, settings.micro_tokens,
                    found.traced)  # fmt: skip
    estimating = None
    if estimated(objective):
        every = auto.every or interval(halves, objective, settings.batch)
        estimating = Auto(every, auto.memory, auto.min, auto.max)
    return Probe(halves, filled, settings.batch, asked.every, asked.dimension, settings.seed,
                 estimating)  # fmt: skip


def interval(halves: Halves, objective: Any, batch: int) -> int:
    """Steps from one estimate to the next, for one that puts at most `COST` of the tokens of the
    steps between through the model (backwards: twice as many), counted on the first one's rows."""
    groups, views = halves.phase(1), objective.views
    rows = [[paired(r) for r in e] if reads_one_pair(objective, views) else e
            for group in groups for e in group]  # fmt: skip
    step = sum(halves.collate.tokens(halves.collate.size(e, views)) for e in rows) / len(rows)
    measured = 0.0
    for view in views:
        backwards = 1 + (view == FULL and several(groups, view))
        for half in (0, 1) if view in halves.traced else (None,):
            tokens = sum(halves.tokens(group, view, half) for group in groups)
            measured += tokens * (1 + 2 * backwards) / 3
    return max(LEAST, math.ceil(measured / (step * batch * COST)))


def reads_one_pair(objective: Any, views: Sequence[str]) -> bool:
    """Whether the first best and the first worst candidate of a row are all that its loss reads."""
    return all(getattr(loss_of(objective, view), "one_pair", False) for view in views)


def told(found: Drawing, rows: Sequence[Encoded], drawn: np.ndarray) -> str | None:
    """A remark where measurements see other rows than steps do."""
    every = int(has_view(taken(rows, drawn), FULL).sum())
    own = len(found.streams[0])
    if not found.traced or own == every:
        return None
    return (f"gradients: measured on the {own:,} of {every:,} rows that have two traces of each "
            "answer")  # fmt: skip


def _too_few_traces(there: int, rows: int, least: int) -> ConfigError:
    repair = (
        "Raise data.traces and data.samples (bvrank sample: select.traces and n), or give lists of "
        "{think, answer} as chosen and rejected; or set alpha to a number."
    )
    if there == rows:
        repair = "Draw more rows (steps, batch), or lower probe.gradients.groups."
    return ConfigError(
        f"auto needs {least:,} rows with two answers and two traces of each, and {there:,} of "
        f"{rows:,} have them", where="objective.alpha", repair=repair,
    )  # fmt: skip


def _too_few(there: int, settings: TrainSettings) -> ConfigError:
    return ConfigError(
        f"a measurement takes {size(settings):,} rows of each view, and there are {there:,}",
        where="probe.gradients.groups", repair="Lower it or batch, or set probe.gradients.every=0.",
    )  # fmt: skip


def _all(has: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(np.logical_and.reduce(list(has.values())), bool)


def _any(has: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(np.logical_or.reduce(list(has.values())), bool)
