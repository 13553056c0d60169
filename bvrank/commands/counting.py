"""Which rows teach an objective anything: known before a model has scored them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bvrank.commands.intake import chunks, representatives
from bvrank.data.refusals import NO_PREFERENCE
from bvrank.data.shelf import Shelf
from bvrank.objectives.schedule import Schedule
from bvrank.records import Encoded, Outcome, Refused
from bvrank.scoring.collate import Collator, Row

AT_MOST = 4096  # kinds of rows that are tried in other orders
NO_PREFERENCE_TOLD = "no candidate is better than another"


def counted(rows: Shelf, schedule: Schedule) -> np.ndarray:
    """bool [rows]: whether the objective ever counts a row. One of a kind says it for all, unless
    the objective looks at the order in which candidates were shown: then each says it for itself.
    """
    first, place = representatives(rows)
    if not len(first):
        return np.zeros(0, bool)
    some = first[:AT_MOST]
    orders = [[_reordered(row, step) for row in some] for step in (-1, 1)]
    found = _counts(first, schedule)
    if any(_counts(other, schedule) != found[: len(some)] for other in orders):
        return np.asarray(_counts(rows, schedule), bool)
    return np.asarray(np.asarray(found, bool)[place])


def _reordered(row: Encoded, step: int) -> Encoded:
    """The row with the ranks of each view the other way round (-1), or moved on by one."""
    sizes = Counter(b.view for b in row.branches)
    ranks = ((sizes[b.view] + 1 - b.rank) if step < 0 else b.rank % sizes[b.view] + 1
             for b in row.branches)  # fmt: skip
    branches = tuple(replace(b, rank=r) for b, r in zip(row.branches, ranks, strict=True))
    return replace(row, branches=branches)


def teaching(rows: Sequence[Encoded], schedule: Schedule
              ) -> tuple[list[Encoded], list[Refused]]:  # fmt: skip
    """Rows that count for the objective somewhere along the run, and those that never do."""
    kept: list[Encoded] = []
    refused: list[Refused] = []
    for row, counts in zip(rows, _counts(rows, schedule), strict=True):
        if counts:
            kept.append(row)
        else:
            refused.append(Refused(row.where, NO_PREFERENCE, NO_PREFERENCE_TOLD))
    return kept, refused


def _counts(rows: Sequence[Encoded], schedule: Schedule) -> list[bool]:
    """Of each row, whether the objective ever counts it."""
    found: list[bool] = []
    for part in chunks(rows):
        outcomes = [outcome_of(objective, part) for objective in schedule.variants()]
        counts = torch.stack([o.count.sum(0) for o in outcomes]).sum(0)
        found += (counts > 0).tolist()
    return found


def outcome_of(objective: Any, rows: Sequence[Encoded]) -> Outcome:
    """What the objective makes of rows before a model has scored them."""
    labels = Collator().labels([[Row(row)] for row in rows], objective.views)
    outcome: Outcome = objective(replace(labels, policy=-labels.length.double()))
    return outcome
