"""Suites of whole commands, with the running itself replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import whole
from bvrank.bench.options import Ranks
from bvrank.bench.suites import Bench
from tests.bench.shape import SHAPE
from tests.commands.fast import write
from tests.commands.line import call
from tests.commands.planted import clean_pairs


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    shape = {**SHAPE, "vocab_size": 600}
    return Bench(shape, 0, 3, 2, 1e9, 1, "cpu", "fp32", False, True, tmp_path / "store")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", clean_pairs(30))


def test_starts_come_from_a_warm_store_whose_filling_is_heard(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[list[str]] = []

    def timed(words: list[str], folder: Path, threads: int, heard: Any = None) -> float:
        assert threads == 3
        if heard is not None:
            heard("teaching: 1/10 (10%)  elapsed 0:05  left 0:45")
        said.append(words)
        return 1.0

    monkeypatch.setattr(whole.outside, "answered", timed)
    monkeypatch.setattr(whole.outside, "first_step", timed)
    told = replace(bench, threads=3, precision="bf16", compile=True, seed=5)
    cells = list(whole.start(told))
    heard = capfd.readouterr().err
    assert "a store of its own is filled by one run of the default first" in heard
    assert "bench:   teaching: 1/10 (10%)  elapsed 0:05  left 0:45\n" in heard
    for word in ("precision=", "compile=true", "seed=5", "engine.device="):
        assert any(w.startswith(word) for w in said[0]), word
    assert [c.setting["command"] for c in cells] == ["--help", "train --cfg job", "first step"]
    assert all(c.arms["bvrank"].seconds == (1.0,) * bench.rounds for c in cells)
    assert said[0] == said[-1] and said[0][0] == "objective=bvpo"


def test_ranks_are_runs_that_differ_in_their_number_alone(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[list[str]] = []

    def steps(words: list[str], folder: Path, threads: int) -> list[float]:
        said.append(words)
        return [float(threads)] * 2

    monkeypatch.setattr(whole.outside, "steps", steps)
    odd = path.with_name("a b=c,{d}'\"[e]$ é.jsonl")
    path.rename(odd)
    told = replace(bench, threads=3, precision="bf16", seed=5)
    (cell,) = whole.ranks(told, Ranks(str(odd), 4, 3, "zero2"))
    assert cell.arms["2 ranks"].seconds[0] == cell.setting["threads"] == 3
    assert {n: len(arm.seconds) for n, arm in cell.arms.items()} == {"1 rank": 6, "2 ranks": 6}
    one, two = (set(words) for words in said[:2])
    assert one ^ two == {"launcher.processes=1", "launcher.processes=2"}
    done = call(capfd, monkeypatch, "train", *said[0])
    assert done.code == 0 and done.config is not None, done.err
    assert done.config["model"]["shape"]["hidden_size"] == SHAPE["hidden_size"]
    assert done.config["engine"]["stage"] == 2
    assert done.config["data"]["path"] == str(odd)
    assert (done.config["precision"], done.config["compile"], done.config["seed"]) == (
        "bf16", False, 5)  # fmt: skip


@pytest.mark.parametrize(("limit", "rounds"), [(0.0, 1), (1e9, 3)])
def test_no_round_of_whole_commands_begins_behind_the_limit(
    limit: float, rounds: int, bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole.outside, "steps", lambda *_: [1.0])
    monkeypatch.setattr(whole.outside, "answered", lambda *_: 1.0)
    monkeypatch.setattr(whole.outside, "first_step", lambda *_: 1.0)
    cut = replace(bench, limit=limit)
    (cell,) = whole.ranks(cut, Ranks(str(path), 4, 3, "zero0"))
    cells = [cell, *whole.start(cut)]
    assert {len(a.seconds) for c in cells for a in c.arms.values()} == {rounds}
