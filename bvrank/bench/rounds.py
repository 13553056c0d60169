"""Timing arms in turn: interleaved, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of every step of one arm, in the order they were run."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(
    arms: Mapping[str, Step],
    *,
    rounds: int,
    steps: int,
    limit: float = float("inf"),
    on_round: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """`rounds` times `steps` steps of every arm, after a step each that does not count.

    Each round begins with another arm. No round begins after `limit` seconds, but one is always
    run; a Timing says by its length how many there were.
    """
    names = list(arms)
    start = clock()
    for name in names:
        arms[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        if number and clock() - start > limit:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            for _ in range(steps):
                began = clock()
                arms[name]()
                found[name].append(clock() - began)
        on_round(number + 1)
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}


def ratios(slow: Timing, fast: Timing) -> tuple[float, float, float]:
    """How many times `fast` is faster: by the medians, and the range over steps of the same round
    and number."""
    own = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return slow.median / fast.median, min(own), max(own)
