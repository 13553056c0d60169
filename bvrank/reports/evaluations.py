"""What `bvrank evaluate` found of a run: result.json in each folder of its evals/.

Flat names are `evals/<task>/<mode>/<figure>`, the mode "-" where there is none; a figure that is a
share ends in ", %" and is told in per cent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bvrank.errors import RunError
from bvrank.evaluation.metrics import is_share
from bvrank.evaluation.pooling import elsewhere, is_superseded, of_older, policies, pooled
from bvrank.evaluation.result import RESULT, Result, read_result
from bvrank.reports.figures import mapping
from bvrank.reports.spread import Basis, Spread, spread
from bvrank.run import RunRecord, is_aside, to_json
from bvrank.run.identity import canonical
from bvrank.run.methods import apart, method, short, silent, undrawn

HEAD, NO_MODE, SHARE = "evals", "-", ", %"
Way = tuple[str, int | None, int, str]  # task, step, version of the task, how it was measured


def evaluated(records: Sequence[RunRecord], names: Mapping[Way, str] | None = None
              ) -> dict[str, Spread]:  # fmt: skip
    """The figures by flat name, over the policies of the records: one's own interval is that of
    `bvrank evaluate`, over prompts, its evaluations averaged prompt by prompt; of several policies
    it is over them. Other steps, versions and settings are tasks of their own, called
    as `names` of several runs has them."""
    named = names_of(records) if names is None else names
    groups: dict[str, list[Result]] = {}
    for record in records:
        for way, group in _ways(record).items():
            groups.setdefault(named[way], []).extend(group)
    found: dict[str, Spread] = {}
    for name, results in groups.items():
        for figure in dict.fromkeys(f for r in results for f in r.figures):
            there = [r for r in results if _is_told(r, figure)]
            if there:
                share = all(is_share(figure, r.figures[figure].value) for r in there)
                mode, _, metric = figure.rpartition("/")
                end = f"{mode or NO_MODE}/{metric}{SHARE if share else ''}"
                found[f"{HEAD}/{name}/{end}"] = _spread(there, figure, share)
    return found


def _spread(results: Sequence[Result], figure: str, share: bool) -> Spread:
    """Of one figure, in per cent where it is a share."""
    groups, scale = policies(results), 100.0 if share else 1.0
    own = [pooled(group, figure) for group in groups]
    seeds = [[r.settings.get("seed") for r in group] for group in groups]
    basis = Basis(tuple(e.prompts for e in own),
                  tuple(tuple(s for s in of if isinstance(s, int)) for of in seeds))  # fmt: skip
    low, high = (scale * v for v in own[0].interval)
    alone = (low, high) if len(own) == 1 and math.isfinite(high - low) else None
    return replace(spread(scale * e.value for e in own), own=alone, basis=basis)


def _is_told(result: Result, figure: str) -> bool:
    told = result.figures.get(figure)
    return told is not None and math.isfinite(told.value)


def names_of(records: Sequence[RunRecord]) -> dict[Way, str]:
    """What each way to measure is called: by what is its own among all that was measured of these
    runs."""
    ways = {key: group[0].settings for r in records for key, group in _ways(r).items()}
    same = {way: _plainest(way, ways) for way in ways}
    names = _names({way: ways[way] for way in dict.fromkeys(same.values())})
    return {way: names[plainest] for way, plainest in same.items()}


def _plainest(way: Way, ways: Mapping[Way, Mapping[str, Any]]) -> Way:
    """The same way as a result tells it that leaves out what its task does not follow."""
    own = ways[way]
    if undrawn(own) or silent(own):
        return way
    plain = {k: v for k, v in ways.items() if k[:3] == way[:3] and undrawn(v) and not silent(v)}
    return next((k for k, settings in plain.items() if not apart(settings, own)), way)


def _ways(record: RunRecord) -> dict[Way, list[Result]]:
    found: dict[Way, list[Result]] = {}
    every = list(evaluations(record.path))
    for r in every:
        if not is_superseded(r, every):
            told = to_json([canonical(method(r.settings)), silent(r.settings)])
            found.setdefault((r.task, r.step, r.version, told), []).append(r)
    return found


def remarks(records: Sequence[RunRecord]) -> list[str]:
    """On evaluations of the records that are not counted, or averaged though they may differ in
    more than they tell."""
    notes = []
    for record in records:
        every = list(evaluations(record.path))
        gone = [r for r in every if is_superseded(r, every)]
        told = of_older(gone)
        for (task, *_), own in _ways(record).items():
            told += [f"{task}: {note}" for note in elsewhere(own)]
        notes += [f"{record.name}: {note}." for note in told]
    return notes


def evaluations(folder: Path) -> Iterator[Result]:
    """Those of a run, in the order of their names, and the one that `folder` itself is. What cannot
    be read is none, nor what force=true moved aside."""
    inside = sorted(folder.glob(f"evals/*/{RESULT}"))
    kept = [path for path in inside if not is_aside(path.relative_to(folder))]
    for path in [folder / RESULT, *kept]:
        try:
            found = read_result(path.parent)
        except RunError:
            continue
        if any(_is_told(found, figure) for figure in found.figures):
            step = found.step if isinstance(found.step, int) else None
            yield replace(found, task=str(found.task).replace("/", " "), step=step,
                          settings=mapping(found.settings))  # fmt: skip


def tasks(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The flat names among `names`, taken apart: task -> mode -> figures, in their order."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        head, *parts = name.split("/", 3)
        if head == HEAD and len(parts) == 3:
            task, mode, figure = parts
            found.setdefault(task, {}).setdefault(mode, []).append(figure)
    return found


def _names(keys: Mapping[Way, Mapping[str, Any]]) -> dict[Way, str]:
    """The task alone where it is measured once; else its step, its version and what differs of its
    settings."""
    names = {}
    for key, own in keys.items():
        task, step, version, _ = key
        same = {k: settings for k, settings in keys.items() if k[0] == task}
        told = [task]
        if len({k[1] for k in same}) > 1:
            told.append(f"step {step}")
        if len({k[2] for k in same}) > 1:
            told.append(f"version {version}")
        found = sorted((d for s in same.values() for d in apart(s, own)), key=lambda d: d[0])
        told += dict.fromkeys(
            f"{name.rpartition('.')[2]} {short(value)}" for name, _, value in found
        )
        if silent(own) and not all(map(silent, same.values())):
            told.append("settings not recorded")
        names[key] = ", ".join(told).replace("/", " ")
    return names
