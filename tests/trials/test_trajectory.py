"""The trajectory table with a few of its rows: the whole one is made by `make trials`."""

from __future__ import annotations

from pathlib import Path

from tests.trials.trajectory import BOUNDS, Arm, arms, differences


def test_engines_ranks_and_splits_train_alike(tmp_path: Path) -> None:
    """Each stage, on two processes or one, whatever scores the reference: within bounds."""
    wanted = [
        Arm("zero0", 2, 2), Arm("zero1", 2, 1), Arm("zero2", 1, 4), Arm("zero3", 2, 1),
        Arm("zero3", 2, 2, "LoRA"), Arm("zero2", 2, 2, "LoRA"), Arm("zero2", 2, 2, "bf16"),
    ]  # fmt: skip
    gaps = differences(wanted, tmp_path, ("bvpo", "irpo"))
    assert len(gaps) == 14
    for (arm, objective), gap in gaps.items():
        assert gap <= BOUNDS[arm.kind], (arm, objective, gap)
    assert max(gaps.values()) > 0  # two arms are never the same computation


def test_the_whole_table_has_every_engine_and_split() -> None:
    fp32 = {(a.engine, a.ranks, a.micro) for a in arms() if a.kind == "fp32"}
    assert len(fp32) == 3 + 4 * 6
    assert {a.kind for a in arms()} == set(BOUNDS)
