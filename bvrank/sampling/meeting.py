"""Where ranks wait for each other between stages, however long one of them takes."""

from __future__ import annotations

import time
from pathlib import Path

from bvrank.ranks import Ranks

PAUSE = 0.2  # seconds between two looks


class Meeting:
    """Ranks that see the same folder. A collective would give up after launcher.timeout, and the
    shares of a sampling may lie hours apart; a rank that dies ends the others by the launcher."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self._folder, self._ranks, self._stage = folder, ranks, 0
        if ranks.world == 1:
            return
        if ranks.first:  # what a run that was killed left behind
            for mark in folder.glob(".met-*"):
                mark.unlink()
        ranks.gather(None)  # gone before one sets a mark

    def wait(self) -> None:
        """Returns when every rank has called it as often as this one."""
        if self._ranks.world == 1:
            return
        self._stage += 1
        self._mark(self._ranks.rank).touch()
        while not all(self._mark(rank).exists() for rank in range(self._ranks.world)):
            time.sleep(PAUSE)
        self._ranks.gather(None)
        self._mark(self._ranks.rank).unlink()

    def _mark(self, rank: int) -> Path:
        return self._folder / f".met-{self._stage}-{rank:05d}"
