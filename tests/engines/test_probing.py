"""Measurements of gradients: what they find, and that nothing of them stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import train
from bvrank.engines.probing import Probe
from bvrank.errors import ConfigError, Interrupted
from bvrank.records import Measured
from tests.commands.fast import (
    QUICK,
    TINY,
    config,
    go,
    interrupt_at,
    metrics,
    on_lists,
    on_pairs,
    on_traces,
    read,
    same,
    weights,
)
from tests.commands.line import process
from tests.engines.estimating import alone

FOUR = "probe.gradients.groups=4"
LOOK = ("probe.gradients.every=1", FOUR)
AUTO = ("objective.alpha=auto", FOUR)


def bare_of_probes(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in li.items() if not k.startswith("probe/")} for li in lines]


RUNS: dict[str, tuple[str, ...]] = {
    "plain": ("micro=2",),
    "dropout": ("model.lora.r=2", "model.lora.dropout=0.5"),
    "recomputed": ("activation_checkpointing=true",),
    "selective": ("activation_checkpointing=selective",),
    "tokens": ("micro_tokens=60", "scoring.layout=padded"),
    "endpoint": ("objective.alpha=1.0", "scoring.reference=live"),
    "adapter": ("model.lora.r=2", "scoring.reference=adapter_off"),
    "dpo": ("objective=dpo", "data.pairing=independent"),
    "bf16": ("precision=bf16", "data.pairing=independent"),
}


@pytest.mark.parametrize("name", RUNS)
def test_who_only_looks_changes_no_bit(name: str, tmp_path: Path) -> None:
    words = (*RUNS[name], "steps=4")
    plain = go(on_traces(tmp_path, *words, "name=plain"))
    looked = go(on_traces(tmp_path, *words, *LOOK, "name=looked"))
    found = metrics(looked)
    assert same(weights(plain, 4), weights(looked, 4))
    assert metrics(plain) == bare_of_probes(found)
    assert all(line["probe/full/grad_norm"] > 0 for line in found)
    assert all("probe/full/trace_variance" in line for line in found)


def test_any_objective_can_be_looked_at(tmp_path: Path) -> None:
    lists = metrics(go(on_lists(tmp_path, *LOOK)))
    told = {k for k in lists[0] if k.startswith("probe/")}
    assert told == {"probe/full/grad_norm", "probe/full/prompt_variance"}
    sft = metrics(go(on_pairs(tmp_path, "objective=sft", "objective.view=both", *LOOK)))
    assert {"probe/cosine", "probe/bare/grad_norm"} < sft[0].keys()


def test_they_are_made_and_logged_when_they_are_due(tmp_path: Path) -> None:
    words = ("steps=6", "log.every=4", "probe.gradients.every=2", FOUR)
    lines = metrics(go(on_traces(tmp_path, *words)))
    assert {li["step"]: "probe/cosine" in li for li in lines} == {
        1: True, 3: True, 4: False, 5: True, 6: False,
    }  # fmt: skip


EVERY = ("data.pairing=independent", "objective.loss.pairs=whole_list")


@pytest.mark.parametrize("words", [(), EVERY, ("model.lora.r=2",)])
def test_alpha_follows_from_what_was_measured(words: tuple[str, ...], tmp_path: Path) -> None:
    asked = on_traces(tmp_path, *AUTO, *words, "auto.every=2", "steps=4", traces=4)
    lines = metrics(go(asked))
    used = [line["schedule/alpha"] for line in lines]
    clipped = [min(max(li["probe/alpha"], 0.0), 1.0) for li in lines[::2]]
    assert used == [clipped[0], clipped[0], clipped[1], clipped[1]] and used[0] != used[2]
    assert all(0 < line["probe/alpha_stderr"] < 10 for line in lines[::2])
    assert "probe/alpha" not in lines[1]


@pytest.mark.parametrize("every", [False, True], ids=["first traces", "all traces"])
def test_what_is_measured_equals_a_slow_reference(
    every: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of two rows out of a batch of eight, four traces of each answer, off the reference."""
    asked = Probe.__call__
    pairs: list[tuple[dict[str, float], dict[str, float]]] = []

    def twice(self: Probe, number: int, objective: Any, engine: Any, known: Any) -> Measured:
        found = asked(self, number, objective, engine, known)
        pairs.append((found.values, alone(self, number, objective, engine, every)))
        return found

    monkeypatch.setattr(Probe, "__call__", twice)
    go(on_traces(tmp_path, *AUTO, *(EVERY if every else ()), "auto.every=1", "auto.memory=0",
                 "steps=3", "batch=8", "precision=fp64", "data.pairing=prompt",
                 "probe.gradients.dimension=1000000", traces=4))  # fmt: skip
    assert len(pairs) == 3
    for values, slow in pairs[1:]:
        for name, value in slow.items():
            assert values[f"probe/{name}"] == pytest.approx(value, rel=1e-8), name


@pytest.mark.parametrize("words", [("engine=zero1", "micro=1"), ("engine=zero2",)])
def test_two_processes_measure_what_one_does(words: tuple[str, ...], tmp_path: Path) -> None:
    shared = (*AUTO, "auto.every=2", "steps=3", "batch=8", "precision=fp32")
    one = metrics(go(on_traces(tmp_path, *shared, traces=4)))
    given = (f"data.path={tmp_path / 'traces4.jsonl'}", f"outputs={tmp_path / 'two'}",
             f"store={tmp_path / 'store'}", "name=run")  # fmt: skip
    done = process("train", "data=pairs", "objective=bvpo", *QUICK, *TINY, *shared, *words, *given,
                   "engine.device=cpu", "launcher.processes=2")  # fmt: skip
    assert done.code == 0, done.err
    for a, b in zip(one, metrics(tmp_path / "two/run"), strict=True):
        for name in (n for n in a if n.startswith(("probe/", "schedule/", "loss"))):
            assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-5), name


def test_alpha_is_clipped_and_a_view_left_out_comes_back(tmp_path: Path) -> None:
    low = metrics(go(on_traces(tmp_path, *AUTO, "auto.max=0.0", "steps=2", "auto.every=1")))
    assert {line["schedule/alpha"] for line in low} == {0.0}
    assert "bare/loss" in low[0] and "full/loss" not in low[0]
    assert "probe/full/grad_norm" in low[1]  # what is left out of the loss is measured still


def test_a_fixed_alpha_of_the_same_value_takes_the_same_steps(tmp_path: Path) -> None:
    words = ("steps=3", "data.eval_fraction=0.2")
    auto = go(on_traces(tmp_path, *AUTO, *words, "auto.min=0.3", "auto.max=0.3", count=12))
    fixed = go(on_traces(tmp_path, *words, "objective.alpha=0.3", count=12))
    assert same(weights(auto, 3), weights(fixed, 3))
    final = [read(run / "summary.json")["final"] for run in (auto, fixed)]
    assert final[0]["eval/loss"] == final[1]["eval/loss"] and final[0]["schedule/alpha"] == 0.3


def test_an_estimate_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*AUTO, "steps=6", "auto.every=2", "model.lora.r=2", "model.lora.dropout=0.2")
    whole = go(on_traces(tmp_path, *words, "name=whole"))
    asked = on_traces(tmp_path, *words, "name=parts")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_at(patched, 4)
        train.main(asked)
    state = read(tmp_path / "outputs/parts/checkpoints/step-000004/state.json")["state"]
    assert state["known"]["phases"] == 2 and state["fields"]["alpha"] > 0
    parts = go({**asked, "resume": True})
    assert same(weights(whole, 6), weights(parts, 6)) and metrics(whole) == metrics(parts)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("schedule.alpha=[1,0]",), "schedule.alpha: alpha is estimated"),
        (("engine=zero3",), "engine: zero3 divides weights and gradients"),
        (("compile=true",), "compile: compiled layers do not give gradients of single views"),
        (("objective@objective.loss=simpo",), "objective.alpha: auto has no meaning for SimPO"),
        (("objective@objective.loss=ipo",), "objective.alpha: auto has no meaning for IPO"),
        (("objective@objective.loss=marginal",), "objective.alpha: auto has no meaning for Marg"),
        (("objective.alpha=often",), "objective.alpha: must be a number or one of auto"),
        (("auto.min=0.6", "auto.max=0.4"), "auto.min: must be at most auto.max=0.4, got 0.6"),
        (("objective.alpha=0.4", "auto.memory=0.5"), "auto.memory: has no effect"),
        (("objective.alpha=0.4", "probe.gradients.dimension=99"), "probe.gradients.dimension: has"),
        (("batch=12", "probe.gradients.groups=12"), "auto needs 12 rows .* 8 of 8 .* Draw more"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_the_start(
    words: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=line):
        train.main(on_traces(tmp_path, *AUTO[:1], *words))
    assert not (tmp_path / "outputs").exists()


def test_nothing_is_taught_for_pairs_of_one_trace_each(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="alpha is estimated from two traces"):
        train.main(config(tmp_path, "objective=bvpo", *AUTO))
    assert not (tmp_path / "outputs").exists()


def test_one_trace_of_each_answer_is_refused(tmp_path: Path) -> None:
    line = "objective.alpha: auto needs 4 rows with two answers .* 0 of 4 have them. Raise data"
    with pytest.raises(ConfigError, match=line):
        train.main(on_pairs(tmp_path, "objective=bvpo", *AUTO))
