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
from bvrank.run.identity import canonical
from bvrank.run.methods import apart, method, short, silent

HEAD, RESULT, NO_MODE, SHARE = "evals", "result.json", "-", ", %"
Interval = tuple[float, float]
Way = tuple[str, int | None, str]  # task, step, and how it was measured


@dataclass(frozen=True)
class Evaluation:
    """One result.json: of which task and step, under which settings and flat
    names' ends (`<mode>/<figure>`) with values and 95 % intervals over prompts."""

    task: str
    step: int | None
    settings: Mapping[str, Any]
    values: Mapping[str, tuple[float, Interval]]


def evaluated(record: RunRecord, names: Mapping[Way, str] | None = None
              ) -> dict[str, tuple[float, Interval | None]]:  # fmt: skip
    """The figures by flat name. Several seeds of an evaluation are averaged and lose the interval;
    other steps and settings are tasks of their own, called as `names` of several runs has them."""
    groups = _ways(record)
    named = names_of([record]) if names is None else names
    found: dict[str, tuple[float, Interval | None]] = {}
    for key, group in groups.items():
        for end in dict.fromkeys(name for e in group for name in e.values):
            there = [e.values[end] for e in group if end in e.values]
            own = there[0][1] if len(there) == 1 else None
            found[f"{HEAD}/{named[key]}/{end}"] = (fmean(v for v, _ in there), own)
    return found


def names_of(records: Sequence[RunRecord]) -> dict[Way, str]:
    """What each way to measure is called: by what is its own among all that was measured of these
    runs."""
    ways = {key: group[0].settings for r in records for key, group in _ways(r).items()}
    return _names(ways)


def _ways(record: RunRecord) -> dict[Way, list[Evaluation]]:
    found: dict[Way, list[Evaluation]] = {}
    for e in evaluations(record.path):
        told = to_json([canonical(method(e.settings)), silent(e.settings)])
        found.setdefault((e.task, e.step, told), []).append(e)
    return found


def evaluations(folder: Path) -> Iterator[Evaluation]:
    """Those of a run, in the order of their names, and the one that `folder` itself is. What cannot
    be read is none."""
    for path in [folder / RESULT, *sorted(folder.glob(f"evals/*/{RESULT}"))]:
        try:
            values = from_json(path.read_text("utf-8"))
            found = dict(_figures(values["figures"]))
            settings = mapping(values["settings"])
            task, step = str(values["task"]).replace("/", " "), values["step"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if found:
            yield Evaluation(task, step if isinstance(step, int) else None, settings, found)


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


def _names(keys: Mapping[Way, Mapping[str, Any]]) -> dict[Way, str]:
    """The task alone where it is measured once; its step and what differs of its settings else."""
    names = {}
    for key, own in keys.items():
        task, step, _ = key
        same = {k: settings for k, settings in keys.items() if k[0] == task}
        told = [task]
        if len({k[1] for k in same}) > 1:
            told.append(f"step {step}")
        found = sorted((d for s in same.values() for d in apart(s, own)), key=lambda d: d[0])
        told += dict.fromkeys(
            f"{name.rpartition('.')[2]} {short(value)}" for name, _, value in found
        )
        if silent(own) and not all(map(silent, same.values())):
            told.append("settings not recorded")
        names[key] = ", ".join(told).replace("/", " ")
    return names
