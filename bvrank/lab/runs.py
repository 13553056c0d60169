"""Every arm with every rule, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bvrank.lab.bound import MARGIN, Bound, bounds, on_bound, smoothness, unchecked
from bvrank.lab.check import Check
from bvrank.lab.fleet import Exact
from bvrank.lab.options import Settings
from bvrank.lab.policy import world
from bvrank.lab.scoring import Score
from bvrank.lab.side import Advance, parts, side_by_side
from bvrank.lab.training import IDEAL, TRACE, Course, Measures, curvature, merged, trained
from bvrank.reports.spread import spread

Pair = list[float]  # mean over worlds, half its 95 % interval


@dataclass(frozen=True)
class Runs:
    """`figures` as JSON takes them (None: there were none), `arrays` by name, checks."""

    figures: dict[str, Any] | None
    arrays: dict[str, np.ndarray]
    checks: list[Check]


@dataclass(frozen=True)
class _Part:
    """Some worlds' courses by rule and arm; the Hessian's norm [W] at the reference, and where the
    exact arm of SGD ends."""

    courses: dict[str, dict[str, Course]]
    first: Tensor
    last: Tensor


def runs(settings: Settings, advance: Advance) -> Runs:
    """Trains. `advance` is called behind every step of every rule and every one of `stretches`."""
    found = side_by_side(partial(_part, settings), stretches(settings), settings.threads, advance)
    courses = {
        rule: {name: merged([p.courses[rule][name] for p in found]) for name in arms}
        for rule, arms in found[0].courses.items()
    }
    first, last = (torch.cat([getattr(p, end) for p in found]) for end in ("first", "last"))
    told: dict[str, Any] = {"worlds": settings.train.seeds, "rules": {
        rule: {name: _arm(c, arms[IDEAL], arms[TRACE]) for name, c in arms.items()}
        for rule, arms in courses.items()
    }}  # fmt: skip
    arrays = {f"training/{rule}/{name}/{k}": v for rule, arms in courses.items()
              for name, course in arms.items() for k, v in _arrays(course).items()}  # fmt: skip
    if "sgd" not in courses:
        return Runs(told, arrays, [unchecked("SGD was not run (train.rules)")])
    eta, smooth = settings.train.rate / first, smoothness(courses["sgd"], [first, last])
    sides, covered = bounds(courses["sgd"], eta, smooth), eta * smooth <= 1
    told["bound"] = _bound(sides, eta, smooth, covered)
    arrays |= {"training/eta": eta.numpy(), "training/L": smooth.numpy()}
    return Runs(told, arrays, on_bound(sides, covered))


def stretches(settings: Settings) -> list[list[int]]:
    """The seeds of the worlds that train together."""
    seeds = range(settings.seed, settings.seed + settings.train.seeds)
    return parts(seeds, settings.shape.stretch)


def _part(settings: Settings, seeds: list[int], advance: Advance) -> _Part:
    score, train = Score(settings.shape), settings.train
    worlds = [world(score, settings.beta, settings.bare_from, seed) for seed in seeds]
    exact = Exact(worlds)
    measures = Measures(worlds, exact)
    first = last = curvature(exact, measures.start)
    courses: dict[str, dict[str, Course]] = {}
    for rule in train.rules:
        rate = train.rate / first if rule == "sgd" else torch.full_like(first, train.adamw)
        found = trained(measures, train, rule, rate, seeds, advance)
        courses[rule] = {name: arm.course for name, arm in found.items()}
        if rule == "sgd":
            last = curvature(exact, found[IDEAL].weights)
    return _Part(courses, first, last)


def interval(values: Tensor) -> Pair:
    """Of values [W]."""
    found = spread(values.tolist())
    return [found.mean, found.half or 0.0]


def _arm(course: Course, ideal: Course, trace: Course) -> dict[str, Any]:
    end = course.loss[-1]
    rest = end - ideal.loss[-1]
    return {
        "steps": course.steps, "loss": list(map(interval, course.loss)),
        "norm": list(map(interval, course.norm)), "points": course.points,
        "alpha": list(map(interval, course.alpha)), "bias2": list(map(interval, course.bias2)),
        "variance": list(map(interval, course.variance)), "above_exact": interval(rest),
        "above_trace": int((end > trace.loss[-1]).sum()), "diverged": int((~end.isfinite()).sum()),
    }  # fmt: skip


def _arrays(course: Course) -> dict[str, np.ndarray]:
    names = ("loss", "norm", "alpha", "bias2", "variance", "slopes")
    found = {name: getattr(course, name) for name in names}
    return {name: torch.stack(values).numpy() for name, values in found.items() if values}


def _bound(sides: Mapping[str, Bound], eta: Tensor, smooth: Tensor, covered: Tensor
           ) -> dict[str, Any]:  # fmt: skip
    told: dict[str, Any] = {
        "margin": MARGIN, "covered": int(covered.sum()), "worlds": len(covered),
        "eta": _ends(eta), "L": _ends(smooth), "eta_L": _ends(eta * smooth), "arms": {},
    }  # fmt: skip
    for name, side in sides.items():
        if covered.any():
            whole = vars(side) | {"bound": side.whole}
            told["arms"][name] = {part: interval(v[covered]) for part, v in whole.items()} | {
                "exceeded": int((side.measured > side.whole)[covered].sum())
            }
    return told


def _ends(values: Tensor) -> list[float]:
    """Least and most of those that are finite."""
    known = values[values.isfinite()]
    return [float(known.min()), float(known.max())] if len(known) else [math.nan, math.nan]
