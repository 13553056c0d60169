"""Two of the trials of several processes; the rest is made by `make trials`."""

from __future__ import annotations

import re
import signal

import pytest

from tests.trials import Request
from tests.trials.process import run
from tests.trials.ranks import Ranks, killed_rank, row, signalled


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return Ranks(Request(tmp_path_factory.mktemp("ranks"), ("steps=30",)))


def test_a_rank_that_dies_is_named_and_nothing_is_lost(ranks: Ranks) -> None:
    cells, right = row(ranks, "killed", killed_rank, 3, True)
    assert right, cells


def test_a_scheduler_s_warning_stops_all_ranks_at_one_step(ranks: Ranks) -> None:
    cells, right = row(ranks, "warned", signalled(signal.SIGUSR1), 130, True)
    assert right, cells


def test_one_rank_speaks(ranks: Ranks) -> None:
    """A run of two processes shows what a run of one shows; the second time nothing runs."""
    words = (*ranks.words, f"outputs={ranks.outputs('whole')}")
    again = run(ranks.folder / "whole", words)
    assert again.code == 0 and "finished before, nothing ran" in again.err
    first = (ranks.folder / "whole" / "0.err").read_text()
    assert len(re.findall(r"^rows: ", first, re.M)) == 1
    assert len(re.findall(r"^training: 30/30", first, re.M)) == 1
    odd = [li for li in first.splitlines() if not re.match(r"starting|rows|reference|training", li)]
    assert odd == []  # no remark of a library's
    assert (ranks.folder / "whole" / "0.out").read_text().count("training loss:") == 1
