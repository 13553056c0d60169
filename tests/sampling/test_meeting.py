"""Ranks meet between stages, and none goes on before the last has come."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bvrank.ranks import ALONE, Ranks
from bvrank.sampling import meeting
from bvrank.sampling.meeting import Meeting


class Threads(Ranks):
    """Ranks of one process that talk by a list."""

    def gather(self, value: Any) -> list[Any]:
        barrier, said = self.group
        said[self.rank] = value
        barrier.wait()
        found = list(said)
        barrier.wait()
        return found


def together(world: int, work: Any) -> list[Any]:
    group = threading.Barrier(world, timeout=60), [None] * world
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(work, [Threads(rank, world, rank, group) for rank in range(world)]))


def test_no_rank_goes_on_before_the_last_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "PAUSE", 0.001)
    order: list[tuple[str, int]] = []
    late = threading.Event()
    (tmp_path / ".met-dead-1-00001").touch()  # of a run that was killed

    def work(ranks: Ranks) -> None:
        meet = Meeting(tmp_path, ranks)
        if ranks.rank == 1:
            late.wait(60)
        for stage in "ab":
            order.append((f"before {stage}", ranks.rank))
            if ranks.rank == 2:
                late.set()
            meet.wait()
            order.append((f"behind {stage}", ranks.rank))

    together(3, work)
    for stage in "ab":
        places = [[n for n, (what, _) in enumerate(order) if what == f"{when} {stage}"]
                  for when in ("before", "behind")]  # fmt: skip
        assert len(places[0]) == 3 and max(places[0]) < min(places[1])
    assert not list(tmp_path.iterdir())


def test_alone_nobody_is_waited_for(tmp_path: Path) -> None:
    Meeting(tmp_path, ALONE).wait()
    assert not list(tmp_path.iterdir())
