"""Evaluations of one policy as one: seeds of an evaluation are averaged prompt by prompt.

They say nothing of what another training would give: a run of an arm is a policy, however often it
was evaluated, and the interval of its figures is over prompts, as that of a single evaluation is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean

import numpy as np

from bvrank.evaluation.metrics import bounds
from bvrank.evaluation.result import Result
from bvrank.run.methods import address_of, apart, files_of
from bvrank.statistics import Bounds, Estimate, estimate

CLOSE = 1e-9
LARGEST = 1e150  # of a cell: beyond it squares are not finite


def policies(results: Sequence[Result]) -> list[list[Result]]:
    """The results of each policy; by model and step where an old result names none."""
    known = all(r.policy for r in results)
    found: dict[str, list[Result]] = {}
    for r in results:
        found.setdefault(r.policy if known else f"{r.model}@{r.step}", []).append(r)
    return list(found.values())


def elsewhere(results: Sequence[Result]) -> list[str]:
    """A sentence on each policy that was asked at several addresses: two servers may call two
    models by one name."""
    every = [sorted({a for r in own if (a := address_of(r.settings))}) for own in policies(results)]
    return [f"answered at {len(own)} addresses ({', '.join(own)}), taken for one policy"
            for own in every if len(own) > 1]  # fmt: skip


def is_superseded(result: Result, others: Sequence[Result]) -> bool:
    """Whether one of the others is of the same policy, measured in the same way by a newer version
    of the task: what an older one found is another figure under the same name."""
    return any(
        other.version > result.version
        and (other.task, other.step) == (result.task, result.step)
        and len(policies([other, result])) == 1
        and not apart(result.settings, other.settings)
        for other in others
    )


def of_older(gone: Sequence[Result]) -> list[str]:
    """Sentences on results that are left out since they are superseded."""
    counts = Counter((r.task, r.version) for r in gone)
    return [
        f"{task}: {count} evaluation{'s' * (count > 1)} of version {version} left out: a newer "
        "version measured the same"
        for (task, version), count in sorted(counts.items())
    ]


def aligned(results: Sequence[Result]) -> list[Result]:
    """With one name for each file in the keys of prompts (`name.jsonl:12`), the first that it has:
    a copy of a file under another name holds the same prompts."""
    names: dict[str, str] = {}
    found = []
    for r in results:
        own = files_of(r.settings)
        other = {name: first for name, digest in own.items()
                 if (first := names.setdefault(digest, name)) != name}  # fmt: skip
        cells = {figure: {_renamed(key, other): v for key, v in values.items()}
                 for figure, values in r.cells.items()} if other else r.cells  # fmt: skip
        found.append(replace(r, cells=cells))
    return found


def _renamed(key: str, names: Mapping[str, str]) -> str:
    own = next((name for name in names if key.startswith(f"{name}:")), None)
    return key if own is None else names[own] + key[len(own) :]


def pooled(results: Sequence[Result], figure: str) -> Estimate:
    """A figure of one policy out of one or several evaluations that have it: the mean over prompts
    of each one's mean over them, with the interval that `bvrank evaluate` gives to such cells.

    A fitted figure is no mean of cells: value and interval are the means of the single ones. Such
    an interval is no narrower than that of the mean, whatever the evaluations have in common."""
    if len(results) == 1:
        return results[0].figures[figure]
    if all(is_mean(r, figure) for r in results):
        results = aligned(results)
        by_prompt: dict[str, list[float]] = {}
        for result in results:
            for key, value in result.cells[figure].items():
                by_prompt.setdefault(key, []).append(value)
        return _estimated(tuple(map(fmean, by_prompt.values())), bounds(figure))
    own = [r.figures[figure] for r in results]
    low, high = (fmean(e.interval[i] for e in own) for i in (0, 1))
    return Estimate(fmean(e.value for e in own), fmean(e.stderr for e in own), (low, high),
                    min(e.prompts for e in own), 1)  # fmt: skip


def is_mean(result: Result, figure: str) -> bool:
    """Whether the figure is the mean of its cells: a fitted one cannot be compared by them."""
    values = [*result.cells.get(figure, {}).values()]
    told = result.figures.get(figure)
    if not values or told is None or not all(map(_is_cell, values)):
        return False
    return math.isclose(sum(values) / len(values), told.value, rel_tol=CLOSE, abs_tol=CLOSE)


def _is_cell(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST


@lru_cache(maxsize=1024)
def _estimated(cells: tuple[float, ...], limits: Bounds) -> Estimate:
    """A report asks for each twice, and a bootstrap over a thousand prompts takes half a second."""
    return estimate(np.array(cells), bounds=limits)
