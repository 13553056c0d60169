"""What an evaluation found: cells by prompt, figures with their uncertainty, a file of each.

    result.json     task, version, step, model, policy, settings, figures, cells, counts, notes
    samples.jsonl   a line for each response or list that was judged

A cell is the value of one prompt (a query, a pair) under its key: what two runs are compared by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bvrank.errors import RunError
from bvrank.evaluation.metrics import bounds, higher_is_better, is_share
from bvrank.run.files import from_json, to_json, write_atomic
from bvrank.statistics import Estimate, estimate, needed

RESULT, SAMPLES = "result.json", "samples.jsonl"
POINT = 0.01  # of the power line


@dataclass(frozen=True)
class Measured:
    """What a task measured.

    cells: figure -> prompt key -> value, the headline first; a figure is `<mode>/<metric>`, or
    `<metric>` where no mode is. intervals: figure -> (value, stderr, low, high) of those that are
    no mean of their cells. counts: what was left out and why. notes: sentences for the user.
    samples: lines of samples.jsonl. higher: figure -> whether more of it is better, where
    evaluation.metrics does not say so.
    """

    cells: Mapping[str, Mapping[str, float]]
    samples: Iterable[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    intervals: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    higher: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """result.json, read. `figures`: name -> Estimate; `cells` as measured; `settings`: see
    run.methods; `policy`: equal for equal weights ("" where an old result tells none); `higher`:
    figure -> whether more is better (None: neither way is)."""

    task: str
    version: int
    step: int | None
    model: str
    settings: Mapping[str, Any]
    figures: Mapping[str, Estimate]
    cells: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int]
    notes: Sequence[str]
    policy: str = ""
    higher: Mapping[str, bool | None] = field(default_factory=dict)

    def power(self, figure: str, gain: float = POINT) -> int | None:
        """How many prompts each of two independent evaluations takes to show a true `gain`."""
        cells = self.cells.get(figure)
        return needed(np.array(list(cells.values())), gain, arms=2) if cells else None

    def better(self, figure: str) -> bool | None:
        """Whether more of it is better, as its task says, else by its name; None where neither way
        is."""
        told = self.higher.get(figure)
        return told if isinstance(told, bool) else higher_is_better(figure)


def figures(measured: Measured, seed: int = 0) -> dict[str, Estimate]:
    """Every figure of the cells, and those that came with an interval of their own."""
    found = {}
    for name, cells in measured.cells.items():
        if name in measured.intervals:
            value, error, low, high = measured.intervals[name]
            found[name] = Estimate(value, error, (low, high), len(cells), 1)
        elif cells:
            found[name] = estimate(np.array(list(cells.values())), seed, bounds=bounds(name))
    return found


def write_result(
    folder: Path, measured: Measured, told: Mapping[str, Any], seed: int = 0
) -> Result:
    """Writes both files, the result last; `told` are the fields that the command knows. Returns
    what it wrote."""
    part = folder / f".{SAMPLES}.part"
    with part.open("w", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in measured.samples)
    part.replace(folder / SAMPLES)
    found = figures(measured, seed)
    values = {
        name: {
            **asdict(e),
            "interval": list(e.interval),
            "higher_is_better": measured.higher.get(name, higher_is_better(name)),
            "share": is_share(name, e.value),
        }
        for name, e in found.items()
    }
    text = {**told, "figures": values, "cells": measured.cells, "counts": dict(measured.counts),
            "notes": list(measured.notes)}  # fmt: skip
    write_atomic(folder / RESULT, to_json(_finite(text), indent=1) + "\n")
    return read_result(folder)


def read_result(folder: Path) -> Result:
    """RunError when there is none, or it is damaged."""
    try:
        values = from_json((folder / RESULT).read_text(encoding="utf-8"))
        figures = {k: _estimate(v) for k, v in values["figures"].items()}
        higher = {k: v.get("higher_is_better") for k, v in values["figures"].items()}
        return Result(
            values["task"], int(values["version"]), values["step"], values["model"],
            values["settings"], figures, values["cells"], values["counts"], values["notes"],
            values.get("policy", ""), higher,
        )  # fmt: skip
    except OSError:
        raise RunError(f"has no {RESULT}", where=str(folder)) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{RESULT} cannot be read ({error!r})", where=str(folder),
                       repair="force=true evaluates again.") from error  # fmt: skip


def _estimate(values: Mapping[str, Any]) -> Estimate:
    value, stderr, low, high = (
        math.nan if v is None else float(v)
        for v in (values["value"], values["stderr"], *values["interval"])
    )
    return Estimate(value, stderr, (low, high), int(values["prompts"]), int(values["runs"]))


def _finite(value: Any) -> Any:
    """NaN as null: JSON has no other word for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value
