"""Work side by side keeps its order, and stops when one of it fails."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from bvrank.lab import side
from bvrank.lab.side import Advance, Stopped, parts, pause, side_by_side


def test_results_stand_in_order_and_every_step_is_told() -> None:
    told: list[int] = []

    def work(item: int, advance: Advance) -> int:
        time.sleep(0.01 * (3 - item))
        advance()
        return item * 10

    assert side_by_side(work, [1, 2, 3], 2, lambda: told.append(1)) == [10, 20, 30]
    assert len(told) == 3


def test_a_failure_is_raised_and_stops_its_neighbours() -> None:
    began, ended = threading.Event(), threading.Event()

    def work(item: int, advance: Advance) -> None:
        if item == 0:
            began.wait(5)
            raise ValueError("broken")
        began.set()
        try:
            for _ in range(10_000):
                advance()
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(ValueError, match="broken"):
        side_by_side(work, [0, 1], 2, lambda: None)
    assert ended.wait(5)


def test_torch_keeps_its_threads() -> None:
    before, inside = torch.get_num_threads(), []
    side_by_side(lambda _i, _a: inside.append(torch.get_num_threads()), [0], 1, lambda: None)
    assert inside == [1]
    assert torch.get_num_threads() == before


def test_parts_are_of_about_one_length() -> None:
    assert parts(range(7), 3) == [[0, 1], [2, 3], [4, 5, 6]]
    assert parts([1, 2], 5) == [[1, 2]]


def test_work_stops_at_a_pause_too() -> None:
    began, ended = threading.Event(), threading.Event()

    def work(item: int, advance: Advance) -> None:
        began.set()
        with pytest.raises(Stopped):
            for _ in range(10_000):
                pause()
                time.sleep(0.001)
        ended.set()
        raise Stopped

    def interrupted(*_: object, **__: object) -> None:
        began.wait(5)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(side, "wait", interrupted)
        side_by_side(work, [0], 1, lambda: None)
    assert ended.is_set()
    pause()  # outside it is nothing
