"""Arms in turn, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from bvrank.bench.rounds import Timing, interleaved, ratios


class Clock:
    """Moves on only while an arm works."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, list[str]()

    def arm(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def step() -> None:
            self.order.append(name)
            self.now += seconds()

        return step


def test_every_arm_takes_its_turn_and_its_first_step_does_not_count() -> None:
    clock = Clock()
    slow = count(10)
    arms = {"a": clock.arm("a", lambda: 1.0), "b": clock.arm("b", lambda: float(next(slow)))}
    rounds: list[int] = []
    found = interleaved(arms, rounds=3, steps=2, clock=lambda: clock.now, on_round=rounds.append)
    assert "".join(clock.order) == "ab" + "aabb" + "bbaa" + "aabb"
    assert found["a"].seconds == (1.0,) * 6 and found["b"].seconds == (11, 12, 13, 14, 15, 16)
    assert rounds == [1, 2, 3]


def test_a_limit_ends_after_whole_rounds_and_one_is_always_run() -> None:
    clock = Clock()
    arms = {"a": clock.arm("a", lambda: 1.0)}
    found = interleaved(arms, rounds=9, steps=1, limit=2.5, clock=lambda: clock.now)
    assert len(found["a"].seconds) == 2
    found = interleaved(arms, rounds=9, steps=1, limit=0.0, clock=lambda: clock.now)
    assert len(found["a"].seconds) == 1


def test_ratios_are_of_medians_and_of_steps_side_by_side() -> None:
    slow, fast = Timing((4.0, 8.0, 6.0)), Timing((2.0, 2.0, 1.0))
    assert ratios(slow, fast) == (3.0, 2.0, 6.0)
    assert slow.median == 6
    with pytest.raises(ValueError):
        ratios(slow, Timing((1.0,)))
