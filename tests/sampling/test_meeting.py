"""Ranks meet between stages, and none goes on before the last has come."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bvrank.ranks import ALONE, Ranks
from bvrank.sampling import meeting
from bvrank.sampling.meeting import Meeting


class Threads(Ranks):
    """Ranks of one process that talk by a list; one of them is slow to go on."""

    def gather(self, value: Any) -> list[Any]:
        barrier, said, order = self.group
        order.append(("collective", self.rank))
        said[self.rank] = value
        barrier.wait()
        found = list(said)
        barrier.wait()
        time.sleep(0.05 * self.rank)  # its mark of this stage outlasts the start of the next
        return found


def together(world: int, work: Any, order: list[tuple[str, int]]) -> list[Any]:
    group = threading.Barrier(world, timeout=60), [None] * world, order
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(work, [Threads(rank, world, rank, group) for rank in range(world)]))


def test_no_rank_goes_on_before_the_last_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "PAUSE", 0.001)
    order: list[tuple[str, int]] = []
    late = threading.Event()
    for stage in (1, 2):
        (tmp_path / f".met-{stage}-00001").touch()  # of a run that was killed

    def work(ranks: Ranks) -> None:
        meet = Meeting(tmp_path, ranks)
        if ranks.rank == 1:
            late.wait(60)
            time.sleep(0.1)
        for stage in "ab":
            order.append((f"before {stage}", ranks.rank))
            if ranks.rank == 2:
                late.set()
            meet.wait()
            order.append((f"behind {stage}", ranks.rank))

    together(3, work, order)

    def places(what: str) -> list[int]:
        return [n for n, event in enumerate(order) if event[0] == what]

    for stage, calls in zip(
        "ab", (places("collective")[3:6], places("collective")[6:]), strict=True
    ):
        before, behind = places(f"before {stage}"), places(f"behind {stage}")
        assert len(before) == len(calls) == 3
        assert max(before) < min(calls)  # no rank waits in a collective, which gives up
        assert max(calls) < min(behind)
    assert not list(tmp_path.iterdir())


def test_alone_nobody_is_waited_for(tmp_path: Path) -> None:
    Meeting(tmp_path, ALONE).wait()
    assert not list(tmp_path.iterdir())
