"""Whether arms train the same: their losses, step by step, on the same rows from the same weights.

In fp32 libraries differ by how they order sums. In bf16 every scored token's log-prob is off by a
rounding of its own, so the loss of a step by what that adds up to; see `tolerance`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bvrank.bench.material import Row
from bvrank.errors import ModelError

SAME = 1e-3  # nats by which losses may differ in fp32
ROUNDING = 2**-8  # nats, standard deviation of a token's log-prob in bf16 (one unit below 1)
SIGMAS = 4  # standard deviations that are taken for noise
PASSES = 4  # that have a rounding each: policy and reference, of two arms

Losses = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Agreement:
    """The most by which losses of one step differed, what was allowed, and how far they moved from
    the first step on: where they did not, equal losses prove little. All in nats."""

    apart: float
    allowed: float
    moved: float

    def facts(self, kind: str) -> dict[str, float]:
        """For a result, under `<kind>/...`."""
        return {f"{kind}/{name}": value for name, value in vars(self).items()}

    def joined(self, other: Agreement) -> Agreement:
        """The worse of both."""
        return Agreement(max(self.apart, other.apart), max(self.allowed, other.allowed),
                         min(self.moved, other.moved))  # fmt: skip


def tolerance(rows: Sequence[Row], batch: int, beta: float, precision: str) -> float:
    """Nats by which the loss of one step may differ between two arms.

    bf16: the loss of a pair has a slope of at most `beta` in its margin, a sum of n log-probs less
    the reference's, each off by a rounding. Over a step's pairs, N scored tokens in all, the mean
    is off by beta * ROUNDING * sqrt(PASSES * N) / batch; SIGMAS of these are allowed.
    """
    if precision != "bf16":
        return SAME
    tokens = [max(sum(map(len, ids[1:])) for ids in row.values()) for row in rows]
    steps = [sum(tokens[i : i + batch]) for i in range(0, len(tokens), batch)]
    return SAME + SIGMAS * beta * ROUNDING * math.sqrt(PASSES * max(steps)) / batch


def agreement(losses: Losses, allowed: float) -> Agreement:
    """ModelError when two arms' losses of one step differ by more than `allowed`."""
    apart = 0.0
    for step in zip(*losses.values(), strict=True):
        worst = max(abs(loss - step[0]) for loss in step)
        if not all(abs(loss - step[0]) <= allowed for loss in step):  # nan neither
            told = ", ".join(f"{n} {x:.5f}" for n, x in zip(losses, step, strict=True))
            raise ModelError(f"the arms train different things: losses {told}", where="bench")
        apart = max(apart, worst)
    first = next(iter(losses.values()), ())
    moved = max((abs(loss - first[0]) for loss in first), default=0.0)
    return Agreement(apart, allowed, moved)
