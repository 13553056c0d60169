"""The trajectory does not depend on how a step is split, laid out or interrupted."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank import checkpoint
from bvrank.data.batches import Ahead
from bvrank.errors import Interrupted, ModelError, TrainingError
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.irpo import IRPO
from bvrank.trainer import check_against_reference, evaluate, global_counts, present_forwards
from tests.small import OBJECTIVES, Small, small

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_is_the_same_however_it_is_split(name: str, tmp_path: Path) -> None:
    runs = [small(OBJECTIVES[name], tmp_path, micro=m).go(20) for m in (8, 4, 1)]
    for other in runs[1:]:
        for a, b in zip(runs[0].log, other.log, strict=True):
            assert b == pytest.approx(a, rel=1e-8, abs=1e-8)
        torch.testing.assert_close(other.weights(), runs[0].weights(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_budget_of_tokens_moves_no_number(name: str, tmp_path: Path) -> None:
    """40 tokens: a long example alone, several short ones together; 1: each alone."""
    whole = small(OBJECTIVES[name], tmp_path).go(10)
    for budget in (40, 1):
        run = small(OBJECTIVES[name], tmp_path, budget=budget).go(10)
        for a, b in zip(whole.log, run.log, strict=True):
            assert b == pytest.approx(a, rel=1e-8, abs=1e-8)
        torch.testing.assert_close(run.weights(), whole.weights(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["dpo", "bvpo", "irpo"])
def test_a_budget_in_fp32_stays_within_1e5(name: str, tmp_path: Path) -> None:
    one, other = (
        small(OBJECTIVES[name], tmp_path, budget=b, dtype=torch.float32, lr=1e-3).go(10)
        for b in (None, 40)
    )
    for a, b in zip(one.log, other.log, strict=True):
        assert abs(a["loss"] - b["loss"]) < 1e-5


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_laying_out_ahead_and_going_on_in_an_epoch_change_nothing(
    stop: int, tmp_path: Path
) -> None:
    """24 rows are three steps; the second process begins in the midst of an epoch."""
    whole = small(BVPO(), tmp_path, budget=40).go(9)
    first, second = (small(BVPO(), tmp_path, budget=40) for _ in range(2))
    for run in (first, second):
        run.batches = Ahead(run.batches)  # type: ignore[assignment]
    first.go(stop)
    checkpoint.save(tmp_path / "checkpoints", first.engine, first.state)
    state, _ = checkpoint.load_newest(tmp_path / "checkpoints", second.engine)
    assert state is not None
    second.state = state
    second.go(9)
    assert [*first.log, *second.log] == whole.log
    assert torch.equal(second.weights(), whole.weights())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_split_in_fp32_stays_within_1e5(name: str, tmp_path: Path) -> None:
    runs = [
        small(OBJECTIVES[name], tmp_path, micro=m, dtype=torch.float32, lr=1e-3).go(20)
        for m in (8, 4, 1)
    ]
    for other in runs[1:]:
        for a, b in zip(runs[0].log, other.log, strict=True):
            assert abs(a["loss"] - b["loss"]) < 1e-5


@pytest.mark.parametrize("name", OBJECTIVES)
def test_forest_and_padded_train_alike(name: str, tmp_path: Path) -> None:
    forest, padded = (
        small(OBJECTIVES[name], tmp_path / layout, layout=layout).go(10)
        for layout in ("forest", "padded")
    )
    for a, b in zip(forest.log, padded.log, strict=True):
        assert b == pytest.approx(a, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_golden_trajectory(name: str, tmp_path: Path) -> None:
    """20 fp64 steps as recorded. After a change that is meant to alter numbers, record anew with
    BVRANK_RECORD=1 and explain it in CHANGELOG."""
    log = small(OBJECTIVES[name], tmp_path).go(20).log
    path = GOLDEN / f"{name}.json"
    if os.environ.get("BVRANK_RECORD"):
        kept = [{k: r[k] for k in ("loss", "grad_norm")} for r in log]
        path.write_text(json.dumps(kept, indent=1))
    for recorded, seen in zip(json.loads(path.read_text()), log, strict=True):
        assert {k: seen[k] for k in recorded} == pytest.approx(recorded, rel=1e-8)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    log = small(DPO(beta=0.5), tmp_path).go(20).log
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-12)  # policy = reference
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]


def _resumed(objective: Any, tmp_path: Path, first: Small, **options: Any) -> Small:
    checkpoint.save(tmp_path / "checkpoints", first.engine, first.state)
    again = small(objective, tmp_path / "store", **options)
    path, broken = checkpoint.newest_whole(tmp_path / "checkpoints")
    assert path is not None and not broken
    again.state = checkpoint.load(path, again.engine)
    return again


def assert_bit_equal(one: Small, two: Small) -> None:
    assert torch.equal(one.weights(), two.weights())
    assert all(torch.equal(a, b) for a, b in zip(one.moments(), two.moments(), strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resume_is_bit_equal(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dtype": dtype, "micro": 2, "dropout": 0.1}
    whole = small(OBJECTIVES[name], tmp_path / "store", **options).go(12)
    first = small(OBJECTIVES[name], tmp_path / "store", **options).go(6)
    torch.rand(7)  # a stranger draws between stop and resume
    second = _resumed(OBJECTIVES[name], tmp_path, first, **options).go(12)
    assert_bit_equal(whole, second)
    assert first.log + second.log == whole.log


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_stop_between_micro_batches_loses_nothing(after: int, tmp_path: Path) -> None:
    """Stopped in step 4 after some of its four micro-batches."""
    options: dict[str, Any] = {"micro": 2, "dropout": 0.1}
    objective = OBJECTIVES["bvpo"]
    whole = small(objective, tmp_path / "store", **options).go(8)
    first = small(objective, tmp_path / "store", **options).go(3)
    asked = iter([False] * after + [True])
    with pytest.raises(Interrupted):
        first.go(8, stop=lambda: next(asked))
    assert first.state.step == 3
    second = _resumed(objective, tmp_path, first, **options).go(8)
    assert_bit_equal(whole, second)
    assert first.log + second.log == whole.log


def test_a_schedule_moves_a_field_and_resumes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"points": {"alpha": (1.0, 0.0)}}
    whole = small(BVPO(beta=0.5), tmp_path / "store", **options).go(20)
    assert [r["schedule/alpha"] for r in (whole.log[0], whole.log[-1])] == [1.0, 0.0]
    assert "bare/loss" not in whole.log[0] and "full/loss" not in whole.log[-1]
    assert {"bare/loss", "full/loss"} <= set(whole.log[10])
    first = small(BVPO(beta=0.5), tmp_path / "store", **options).go(9)
    assert first.state.fields == {"alpha": pytest.approx(1 - 8 / 19)}
    second = _resumed(BVPO(beta=0.5), tmp_path, first, **options).go(20)
    assert first.log + second.log == whole.log


def test_endpoints_of_bvpo_are_dpo_on_one_view(tmp_path: Path) -> None:
    for alpha, view in ((1.0, "full"), (0.0, "bare")):
        mixed = small(BVPO(alpha=alpha, beta=0.5), tmp_path).go(5)
        alone = small(DPO(beta=0.5, view=view), tmp_path).go(5)  # type: ignore[arg-type]
        assert torch.equal(mixed.weights(), alone.weights())


@pytest.mark.parametrize("name", ["dpo", "bvpo"])
def test_a_sum_over_micro_batches_grows_with_the_size_of_one(name: str, tmp_path: Path) -> None:
    """The official IRPO code's reduction: micro times the mean, so the split moves the gradient."""
    (mean,) = small(OBJECTIVES[name], tmp_path).go(1).log
    for micro in (8, 4, 1):
        run = small(OBJECTIVES[name], tmp_path, micro=micro, reduction="microbatch_sum").go(1)
        assert run.log[0]["grad_norm"] == pytest.approx(micro * mean["grad_norm"], rel=1e-9)
        same = ("loss", "rewards/margins", "full/rewards/accuracies")
        assert {k: run.log[0][k] for k in same} == pytest.approx({k: mean[k] for k in same})


def test_a_list_without_a_pair_adds_nothing_to_what_pairs_tell(tmp_path: Path) -> None:
    """It counts for IRPO, whose loss it has, and has no margin and no better side."""
    objective = IRPO(beta=0.3)
    plain, mixed = (small(objective, tmp_path / n, micro=4) for n in ("a", "b"))
    numbers = sorted(plain.batches.order.drawn(1))[:2]
    for number in numbers:
        tree = mixed.batches.rows[number]
        level = tuple(replace(b, relevance=1.0) for b in tree.branches)
        object.__setattr__(tree, "branches", level)
    (before,), (after,) = plain.go(1).log, mixed.go(1).log
    assert after["loss"] != before["loss"]
    assert after["rewards/accuracies"] == before["rewards/accuracies"] == 0.5
    step = list(plain.batches.step(1, ("full",)))
    rows = [float(p) for b in step for p in objective(b.labels).metrics["logps/chosen"][0]]
    assert len(rows) == 8 and math.isfinite(sum(rows))
    assert after["logps/chosen"] != before["logps/chosen"]
    assert abs(after["logps/chosen"]) > 1  # a mean over six, not over eight of which two are 0


def test_a_micro_batch_that_counts_nothing_is_no_part_of_the_mean(tmp_path: Path) -> None:
    run = small(DPO(beta=0.5), tmp_path, micro=2)
    batches = list(run.batches.step(1, ("full",)))
    gone = torch.zeros_like(batches[0].labels.valid)
    batches[0] = replace(batches[0], labels=replace(batches[0].labels, valid=gone))
    objective = DPO(beta=0.5)
    assert present_forwards(run.engine, objective, batches).tolist() == [3.0]
    assert global_counts(run.engine, objective, batches).tolist() == [6.0]


def test_independent_pairing_draws_each_view_from_its_own_stream(tmp_path: Path) -> None:
    run = small(BVPO(beta=0.5), tmp_path, independent=True).go(3)
    assert {"bare/loss", "full/loss"} <= set(run.log[0])
    batch = next(iter(run.batches.step(1, ("full", "bare"))))
    assert batch.labels.valid.all()
    assert all("-full + " in where and where.endswith("-bare") for where in batch.where)


def test_not_finite_stops_and_names_the_rows(tmp_path: Path) -> None:
    run = small(DPO(beta=0.5), tmp_path)
    before = run.weights().clone()
    values = [v.copy() for v in run.batches.reference or []]
    values[4][0] = math.nan
    object.__setattr__(run.batches, "reference", values)
    object.__setattr__(run.batches.rows[4], "where", "bad.jsonl:5")
    with pytest.raises(TrainingError, match=r"loss is nan on rows bad\.jsonl:5"):
        run.go(20)
    assert run.state.step > 0 or torch.equal(run.weights(), before)


def test_the_reference_check_finds_another_model(tmp_path: Path) -> None:
    run = small(DPO(), tmp_path)
    batch = next(iter(run.batches.step(1, ("full",))))
    assert check_against_reference(run.engine, batch, 1e-9) <= 1e-9
    with torch.no_grad():
        next(run.engine.module.parameters()).mul_(1.5)
    with pytest.raises(ModelError, match="nats per token"):
        check_against_reference(run.engine, batch, 1e-9)


def test_the_reference_check_finds_what_is_no_number(tmp_path: Path) -> None:
    run = small(DPO(), tmp_path)
    batch = next(iter(run.batches.step(1, ("full",))))
    batch.labels.reference[0, 1, 0] = math.nan
    with pytest.raises(ModelError, match="nan nats per token"):
        check_against_reference(run.engine, batch, 1e-9)


def test_before_step_one_half_of_the_pairs_are_ranked_right(tmp_path: Path) -> None:
    """Policy and reference are one model: every pair is a tie, whatever its rounding error."""
    for dtype in (torch.float32, torch.float64):
        log = small(DPO(beta=0.5), tmp_path, dtype=dtype).go(1).log
        assert log[0]["rewards/accuracies"] == 0.5


def test_held_out_figures_are_the_objective_without_training(tmp_path: Path) -> None:
    run = small(DPO(beta=0.5), tmp_path)
    before = run.weights().clone()
    figures = evaluate(run.engine, DPO(beta=0.5), run.batches.once(("full",)))
    assert figures["eval/loss"] == pytest.approx(math.log(2), abs=1e-12)
    assert torch.equal(before, run.weights()) and run.engine.module.training
