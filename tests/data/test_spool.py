"""What waits on disk comes back as it was, wherever it is asked for."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bvrank.data.spool import Spool
from bvrank.records import Candidate, Example, Message


def example(n: int) -> Example:
    return Example(f"a:{n}", (Message("user", "q" * n),), (Candidate("\ud800 half", None, "bare"),))


def test_records_come_back_in_any_order_and_between_additions() -> None:
    spool: Spool[Example] = Spool()
    assert list(spool) == []
    places = [spool.add(example(n)) for n in range(20)]
    assert spool.at(places[7]) == example(7)
    places.append(spool.add(example(20)))
    assert [spool.at(p) for p in places[::-1]] == [example(n) for n in range(20, -1, -1)]
    found = iter(spool)
    assert next(found) == example(0) and spool.at(places[13]) == example(13)
    assert list(found) == [example(n) for n in range(1, 21)]


def test_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool: Spool[Example] = Spool()
    spool.add(example(1))
    assert os.listdir(tmp_path) == []
