"""Rows that cannot train: raising them, counting them, listing them, stopping over too many."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bvrank.errors import DataError
from bvrank.records import Refused

# Rows an objective has no use for: listed, but no fault of the data, so under no limit.
UNUSED = "other_view"
NO_PREFERENCE = "nothing_to_prefer"
NO_TRUTH = "no_truth"
WEAK = "weak_preference"
NO_FAULT = (UNUSED, NO_PREFERENCE, NO_TRUTH, WEAK)  # do not count towards max_refused


class Unfit(Exception):
    """Raised inside a source where a row turns out not to fit; never leaves it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)

    def refused(self, where: str) -> Refused:
        """The record of it."""
        return Refused(where, self.reason, self.detail)


def summarise(kept: int, refused: Sequence[Refused]) -> str:
    """One line: `2,307 kept, 5 refused (prompt_mismatch 5)`."""
    counts = Counter(r.reason for r in refused)
    rows = len({r.where for r in refused})  # a row can lose two views
    line = f"{kept:,} kept, {rows:,} refused"
    if not counts:
        return line
    return line + " (" + ", ".join(f"{k} {n:,}" for k, n in counts.most_common()) + ")"


def check_refused(
    kept: int,
    refused: Sequence[Refused],
    max_refused: float,
    where: str,
    setting: str = "data.max_refused",
) -> None:
    """Stops with a DataError when no row is left or more than `max_refused` (a share) was refused.

    `where` names the data set, `setting` the key of `max_refused`. Rows whose views the objective
    does not read do not count.
    """
    faults = list({r.where: r for r in refused if r.reason not in NO_FAULT}.values())
    total = kept + len(faults)
    if kept and len(faults) <= max_refused * total:
        return
    if not kept:
        what = "no row is left to train on" if refused else "there are no rows"
        repair = "Repair the file or name another one."
        if {r.reason for r in faults} == {"too_long"}:
            repair = "Raise data.max_length."
        if refused and not faults:
            repair = _idle({r.reason for r in refused})
    else:
        what = f"{len(faults) / total:.1%} of the rows are faulty, more than {max_refused:.1%}"
        if len(faults) < len({r.where for r in refused}):
            what += (
                f" ({' and '.join(sorted({r.reason for r in refused} & {*NO_FAULT}))}: no fault)"
            )
        repair = f"Repair the file, or accept the loss with {setting}={_above(faults, total)}."
    first = (faults or list(refused))[:1]
    example = f"; first {first[0].where}: {first[0].detail}" if first else ""
    raise DataError(f"{what}: {summarise(kept, refused)}{example}", where=where, repair=repair)


def _idle(reasons: set[str]) -> str:
    """The repair where every row was refused and none is at fault."""
    if WEAK in reasons:
        return "Lower the gap that is asked for."
    if NO_TRUTH in reasons:
        return "Name a file in which something is recommended or relevant."
    if NO_PREFERENCE in reasons:
        return "It needs candidates of different relevance; objective=sft does not."
    return "No row holds a view the objective reads: choose another objective or data."


def write_refused(path: Path, refused: Sequence[Refused]) -> None:
    """One JSON line per refused row, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(vars(r)) + "\n" for r in refused)
    temporary.replace(path)


def _above(faults: Sequence[Refused], total: int) -> float:
    """The smallest share of two decimals that lets this many pass."""
    return min(1.0, -(-len(faults) * 100 // total) / 100)
