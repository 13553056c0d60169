"""What each suite measures, with the measuring itself replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import suites, versus
from bvrank.bench.agreement import Agreement
from bvrank.bench.options import Memory, Versus
from bvrank.bench.result import Arm, Result
from bvrank.bench.suites import Bench
from bvrank.bench.tables import tables
from bvrank.bench.versus import Measured, Setting
from bvrank.errors import ModelError
from tests.bench.shape import SHAPE
from tests.commands.fast import write
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

    def measured(jobs: dict[str, Any], *_: Any, allowed: float, **__: Any) -> Measured:
        seen.append(jobs)
        losses = {name: [0.7, 0.6, 0.5] for group in jobs.values() for name in group}
        arms = {name: Arm((1.0, 1.0, 1.0), 2, 1) for name in jobs}
        return Measured(arms, losses, Agreement(0.0, allowed, 0.2))

    def witnessed(_: Any, peers: dict[str, Any], losses: Any, *__: Any) -> Agreement:
        seen.append(peers)
        assert set(losses) >= {name for group in peers.values() for name in group}
        return Agreement(0.0, 1e-3, 0.1)

    def screened(_: Any, micros: list[int], *__: Any) -> list[tuple[Setting, float]]:
        names = [Setting(m, r) for r in ("precomputed", "live") for m in sorted(micros)]
        return [(setting, float(n)) for n, setting in enumerate(names, 1)]

    monkeypatch.setattr(versus, "measured", measured)
    monkeypatch.setattr(versus, "witnessed", witnessed)
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
    group, witnessed = jobs
    assert list(witnessed) == ["trl micro 2 precomputed", "trl micro 4 precomputed"]
    assert cell.facts["passes/moved"] == 0.1 and cell.facts["losses/moved"] == 0.2
    assert list(group["trl micro 2 precomputed"]) == [
        "trl micro 2 precomputed full", "trl micro 2 precomputed bare",
    ]  # fmt: skip
    assert list(group["bvrank micro 4"]) == ["bvrank micro 4"]


def test_without_trl_there_are_bvranks_arms_alone(
    bench: Bench, asked: Versus, jobs: list[dict[str, Any]]
) -> None:
    alone = replace(bench, peer=False)
    (cell,) = suites.pairs(alone, asked)
    assert list(cell.arms) == ["bvrank micro 4", "bvrank micro 1"] and "losses/apart" in cell.facts
    (cell,) = suites.views(bench, replace(asked, micro=[4]))
    assert "losses/apart" not in cell.facts, "one arm agrees with itself"
    (cell,) = suites.memory(alone, Memory([300], [4], 2, recompute=False))
    assert list(cell.arms) == ["bvrank micro 1"]
    (cell,) = suites.memory(bench, Memory([300], [4], 2, recompute=False))
    assert list(cell.arms) == ["bvrank micro 1", "trl micro 1 precomputed"]


def test_memory_measures_each_arm_alone(bench: Bench, jobs: list[dict[str, Any]]) -> None:
    cells = list(suites.memory(bench, Memory([300, 400], [4, 6], 2, recompute=True)))
    assert [(c.setting["vocabulary"], c.setting["scored"]) for c in cells] == [
        (300, 4), (300, 6), (400, 4), (400, 6),
    ]  # fmt: skip
    assert [c.facts["tokens"] for c in cells] == [6, 8, 6, 8]
    assert all(len(group) == 1 for group in jobs)
    assert [name for group in jobs for name in group] == 4 * [
        "bvrank micro 1", "bvrank micro 1 recomputed", "trl micro 1 precomputed",
        "trl micro 1 precomputed recomputed",
    ]  # fmt: skip
    assert [job["recompute"] for group in jobs for arm in group.values() for job in arm.values()
            ] == 4 * [False, True, False, True]  # fmt: skip


def test_memory_of_arms_that_train_different_things_is_refused(
    bench: Bench, jobs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = versus.measured

    def other(group: dict[str, Any], *given: Any, **named: Any) -> Measured:
        found = real(group, *given, **named)
        off = 0.01 if any("trl" in name for name in group) else 0.0
        losses = {n: [x + off for x in own] for n, own in found.losses.items()}
        return replace(found, losses=losses)

    monkeypatch.setattr(versus, "measured", other)
    with pytest.raises(ModelError, match="the arms train different things"):
        list(suites.memory(bench, Memory([300], [4], 2, recompute=False)))
