"""Theorem 3 beside what was measured (arXiv 2510.05095).

    (1/K) sum_k |grad L_m(theta_k)|^2 <= 2 (L_m(theta_0) - inf L_m) / (eta K) + B^2 + eta L sigma^2

for an L-smooth L_m and eta <= 1/L, in the mean over the draws; B^2 and sigma^2 bound squared bias
and variance on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.lab.check import Check
from bvrank.lab.training import IDEAL, MIXES, Course

SAYS = "mean |grad L_m|^2 <= bound, every arm (excess)"
MARGIN = 1.5  # L over the largest curvature seen: what was seen is from below, and not everywhere


@dataclass(frozen=True)
class Bound:
    """Of an arm, each world by itself [W]: what was measured, the three parts of the bound, and the
    supremum sigma^2."""

    measured: Tensor
    start: Tensor
    bias2: Tensor
    noise: Tensor
    variance: Tensor

    @property
    def whole(self) -> Tensor:
        """The right side."""
        return self.start + self.bias2 + self.noise


def smoothness(found: Mapping[str, Course], ends: Sequence[Tensor]) -> Tensor:
    """L [W]: MARGIN times the largest of the Hessian norms `ends` and of |change of gradient| over
    |change of weights| along every step of every arm. NaN where one has diverged."""
    seen = [*ends, *(s for course in found.values() for s in course.slopes)]
    return MARGIN * torch.stack(seen).amax(0)


def bounds(found: Mapping[str, Course], eta: Tensor, smooth: Tensor) -> dict[str, Bound]:
    """By arm, but for S traces, whose bias and variance are not known exactly on the way. inf L_m
    is taken as 0, which it is at least; suprema are over the points that were measured."""
    told = {}
    for name in (n for n in found if n in MIXES or n == IDEAL):
        course = found[name]
        k = course.steps[-1]
        measured = torch.stack(course.norm[:k]).square().mean(0)
        inside = [i for i, step in enumerate(course.points) if step < k]
        bias2, noise = (
            torch.stack([values[i] for i in inside]).amax(0) if inside else torch.zeros_like(eta)
            for values in (course.bias2, course.variance)
        )
        told[name] = Bound(
            measured, 2 * course.loss[0] / (eta * k), bias2, eta * smooth * noise, noise
        )
    return told


def on_bound(told: Mapping[str, Bound], covered: Tensor) -> list[Check]:
    """The means over the worlds that the theorem speaks of, `covered` [W]: eta L <= 1."""
    if not covered.any():
        return [unchecked("no world with eta L <= 1; a smaller train.rate has some")]
    excess = torch.stack([b.measured[covered].mean() / b.whole[covered].mean() - 1
                          for b in told.values()])  # fmt: skip
    return [Check("3", SAYS, float(excess.clamp(min=0.0).max()), 0.0)]


def unchecked(why: str) -> Check:
    """Theorem 3, of which nothing was seen."""
    return Check("3", SAYS, math.nan, 0.0, why)
