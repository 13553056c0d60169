"""What each suite measures, with the measuring itself replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import suites, versus
from bvrank.bench.options import Memory, Ranks, Versus
from bvrank.bench.result import Arm, Result
from bvrank.bench.suites import Bench
from bvrank.bench.tables import tables
from bvrank.bench.versus import Setting
from tests.bench.shape import SHAPE
from tests.commands.fast import write
from tests.commands.line import call
from tests.commands.planted import clean_pairs


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(suites, "matmul_rate", lambda *_: 1e9)
    monkeypatch.setattr(versus, "check_peer", lambda: None)
    shape = {**SHAPE, "vocab_size": 600}
    return Bench(shape, 0, 3, 2, 1e9, 1, "cpu", "fp32", False, True, tmp_path / "store")


@pytest.fixture
def asked(tmp_path: Path) -> Versus:
    path = str(write(tmp_path / "pairs.jsonl", clean_pairs(30)))
    return Versus(path, 4, rows=12, micro=[4, 1], recompute=[], screen=[4, 2], max_length=256)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arms of each measurement; every arm takes three steps of a second."""
    seen: list[dict[str, Any]] = []

    def measured(jobs: dict[str, Any], *_: Any, **__: Any) -> dict[str, Arm]:
        seen.append(jobs)
        return {name: Arm((1.0, 1.0, 1.0), 2, 1) for name in jobs}

    def screened(_: Any, micros: list[int], *__: Any) -> list[tuple[Setting, float]]:
        names = [Setting(m, r) for r in ("precomputed", "live") for m in sorted(micros)]
        return [(setting, float(n)) for n, setting in enumerate(names, 1)]

    monkeypatch.setattr(versus, "measured", measured)
    monkeypatch.setattr(versus, "screened", screened)
    return seen


def test_pairs_run_beside_the_settings_of_trl_that_the_screen_chose(
    bench: Bench, asked: Versus, jobs: list[dict[str, Any]]
) -> None:
    (cell,) = suites.pairs(bench, asked)
    assert list(cell.arms) == [
        "bvrank micro 4", "bvrank micro 1", "trl micro 2 precomputed", "trl micro 4 precomputed",
    ]  # fmt: skip
    told = {n: s for n, s in cell.facts.items() if n.startswith("screen/")}
    assert told == {f"screen/trl micro {m} {r}": n for n, (m, r) in enumerate(
        [(2, "precomputed"), (4, "precomputed"), (2, "live"), (4, "live")], 1)}  # fmt: skip
    assert cell.facts["tokens"] > cell.facts["scored"] > 0 and cell.facts["matmul"] == 1e9
    assert tables(Result("pairs", {}, {"threads": 1}, (cell,)))
    (group,) = jobs
    assert {name: list(arms) for name, arms in group.items()} == {n: [n] for n in cell.arms}


def test_views_are_one_arm_of_two_passes_of_trl(
    bench: Bench, asked: Versus, jobs: list[dict[str, Any]]
) -> None:
    (cell,) = suites.views(bench, asked)
    assert cell.setting == {"views": "full bare", "batch": 4}
    (group,) = jobs
    assert list(group["trl micro 2 precomputed"]) == [
        "trl micro 2 precomputed full", "trl micro 2 precomputed bare",
    ]  # fmt: skip
    assert list(group["bvrank micro 4"]) == ["bvrank micro 4"]


def test_without_trl_there_are_bvranks_arms_alone(
    bench: Bench, asked: Versus, jobs: list[dict[str, Any]]
) -> None:
    alone = replace(bench, peer=False)
    (cell,) = suites.pairs(alone, asked)
    assert list(cell.arms) == ["bvrank micro 4", "bvrank micro 1"]
    (cell,) = suites.memory(alone, Memory([300], [4], 2, recompute=False))
    assert list(cell.arms) == ["bvrank micro 1"]


def test_memory_measures_each_arm_alone(bench: Bench, jobs: list[dict[str, Any]]) -> None:
    cells = list(suites.memory(bench, Memory([300, 400], [4, 6], 2, recompute=True)))
    assert [(c.setting["vocabulary"], c.setting["scored"]) for c in cells] == [
        (300, 4), (300, 6), (400, 4), (400, 6),
    ]  # fmt: skip
    assert [c.facts["tokens"] for c in cells] == [6, 8, 6, 8]
    assert all(len(group) == 1 for group in jobs)
    assert [name for group in jobs for name in group] == 4 * [
        "bvrank micro 1", "bvrank micro 1 recomputed", "trl micro 1 precomputed",
    ]  # fmt: skip


def test_starts_come_from_a_warm_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []

    def timed(words: list[str], folder: Path) -> float:
        said.append(words)
        return 1.0

    monkeypatch.setattr(suites.outside, "answered", timed)
    monkeypatch.setattr(suites.outside, "first_step", timed)
    cells = list(suites.start(bench))
    assert [c.setting["command"] for c in cells] == ["--help", "train --cfg job", "first step"]
    assert all(c.arms["bvrank"].seconds == (1.0,) * bench.rounds for c in cells)
    assert said[0] == said[-1] and said[0][0] == "objective=bvpo"


def test_ranks_are_runs_that_differ_in_their_number_alone(
    bench: Bench, asked: Versus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[list[str]] = []

    def steps(words: list[str], folder: Path, threads: int) -> list[float]:
        said.append(words)
        return [float(threads)] * 2

    monkeypatch.setattr(suites.outside, "steps", steps)
    (cell,) = suites.ranks(bench, Ranks(asked.path, 4, 3, "zero2"))
    assert {n: len(arm.seconds) for n, arm in cell.arms.items()} == {"1 rank": 6, "2 ranks": 6}
    one, two = (set(words) for words in said[:2])
    assert one ^ two == {"launcher.processes=1", "launcher.processes=2"}
    done = call(capfd, monkeypatch, "train", *said[0])
    assert done.code == 0 and done.config is not None, done.err
    assert done.config["model"]["shape"]["hidden_size"] == SHAPE["hidden_size"]
    assert done.config["engine"]["stage"] == 2
