"""What `bvrank evaluate` found of a run: result.json in each folder of its evals/.

Flat names are `evals/<task>/<mode>/<figure>`, the mode "-" where there is none; a figure that is a
share ends in ", %" and is told in per cent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bvrank.reports.figures import is_number, mapping
from bvrank.run import RunRecord, to_json
from bvrank.run.files import from_json
from bvrank.run.identity import flatten

HEAD, RESULT, NO_MODE, SHARE = "evals", "result.json", "-", ", %"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """One result.json: of which task and step, under which settings (its seed aside), and flat
    names' ends (`<mode>/<figure>`) with values and 95 % intervals over prompts."""

    task: str
    step: int | None
    settings: str
    values: Mapping[str, tuple[float, Interval]]


def evaluated(record: RunRecord) -> dict[str, tuple[float, Interval | None]]:
    """The figures by flat name. Several seeds of an evaluation are averaged and lose the interval;
    other steps and settings are tasks of their own, named by what is their own."""
    groups: dict[tuple[str, int | None, str], list[Evaluation]] = {}
    for e in evaluations(record.path):
        groups.setdefault((e.task, e.step, e.settings), []).append(e)
    named = _names([*groups])
    found: dict[str, tuple[float, Interval | None]] = {}
    for key, group in groups.items():
        for end in dict.fromkeys(name for e in group for name in e.values):
            there = [e.values[end] for e in group if end in e.values]
            own = there[0][1] if len(there) == 1 else None
            found[f"{HEAD}/{named[key]}/{end}"] = (fmean(v for v, _ in there), own)
    return found


def evaluations(folder: Path) -> Iterator[Evaluation]:
    """Those of a run, in the order of their names, and the one that `folder` itself is. What cannot
    be read is none."""
    for path in [folder / RESULT, *sorted(folder.glob(f"evals/*/{RESULT}"))]:
        try:
            values = from_json(path.read_text("utf-8"))
            found = dict(_figures(values["figures"]))
            settings = {k: v for k, v in mapping(values["settings"]).items() if k != "seed"}
            task, step = str(values["task"]).replace("/", " "), values["step"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if found:
            yield Evaluation(
                task, step if isinstance(step, int) else None, to_json(settings), found
            )


def tasks(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The flat names among `names`, taken apart: task -> mode -> figures, in their order."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        head, *parts = name.split("/", 3)
        if head == HEAD and len(parts) == 3:
            task, mode, figure = parts
            found.setdefault(task, {}).setdefault(mode, []).append(figure)
    return found


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, Interval]]]:
    for name, figure in figures.items():
        mode, _, metric = str(name).rpartition("/")
        scale, end = (100.0, SHARE) if figure.get("share") else (1.0, "")
        low, high = (scale * v if is_number(v) else math.nan for v in figure["interval"])
        if is_number(figure["value"]):
            value = scale * figure["value"]
            yield f"{mode or NO_MODE}/{metric}{end}", (value, (low, high))


def _names(keys: Sequence[tuple[str, int | None, str]]) -> dict[tuple[str, int | None, str], str]:
    """The task alone where it is measured once; its step and what differs of its settings else."""
    names = {}
    for key in keys:
        task, step, settings = key
        same = [k for k in keys if k[0] == task]
        told = [task]
        if len({k[1] for k in same}) > 1:
            told.append(f"step {step}")
        beside = [flatten(from_json(k[2])) for k in same]
        for name, value in flatten(from_json(settings)).items():
            if any(other.get(name) != value for other in beside):
                told.append(f"{name.rpartition('.')[2]} {value}")
        names[key] = ", ".join(told).replace("/", " ")
    return names
