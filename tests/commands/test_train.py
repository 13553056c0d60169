"""`bvrank train` as a whole, on models of a few thousand weights."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import session, train
from bvrank.errors import ConfigError, RunError
from tests.commands.fast import (
    config,
    go,
    job,
    list_rows,
    metrics,
    on_lists,
    on_pairs,
    pair_rows,
    read,
    steps,
    write,
)
from tests.commands.line import ROOT, process

RUNS: dict[str, Any] = {
    "sft": lambda p: on_pairs(p, "objective=sft"),
    "dpo": lambda p: on_pairs(p, "objective=dpo"),
    "bvpo": lambda p: on_pairs(p, "objective=bvpo"),
    "independent": lambda p: on_pairs(p, "objective=bvpo", "data.pairing=independent"),
    "irpo": lambda p: on_lists(p),
    "irpo inlist": lambda p: on_lists(p, "data.context=inlist"),
    "dpo of lists": lambda p: on_lists(p, "objective=dpo", "objective.pairs=whole_list"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_leaves_everything_behind(name: str, tmp_path: Path) -> None:
    asked = RUNS[name](tmp_path)
    run = go(asked)
    names = {p.name for p in run.iterdir()}
    wanted = {"config.yaml", "manifest.json", "metrics.jsonl", "refused.jsonl", "summary.json"}
    assert wanted | {"checkpoints"} <= names and steps(run) == ["step-000002"]
    log, summary = metrics(run), read(run / "summary.json")
    assert [line["step"] for line in log] == [1, 2]
    assert summary["final"]["loss"] == log[-1]["loss"]
    assert read(run / "manifest.json")["status"] == "finished"
    if name in ("dpo", "bvpo", "independent", "dpo of lists"):
        assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_a_second_call_only_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = on_pairs(tmp_path, "objective=dpo")
    run = go(asked)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(train, "request", lambda config: pytest.fail("something was built"))
    capsys.readouterr()
    assert train.main(asked) == 0
    assert "run folder" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert run.is_dir()


def test_a_finished_run_is_told_without_torch(tmp_path: Path) -> None:
    asked = on_pairs(tmp_path, "objective=dpo")
    go(asked)
    code = (
        "import sys; from bvrank.commands import job; code = job.main(['train', sys.argv[1]]);"
        "assert not {'torch', 'transformers', 'datasets'} & {*sys.modules}; sys.exit(code)"
    )
    done = subprocess.run(
        job(tmp_path, asked, "-c", code), env={"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["a file", "a file/deeper"])
def test_a_place_for_no_run_is_told_before_anything_is_loaded(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    asked = {**on_pairs(tmp_path), "outputs": str(tmp_path / place)}
    monkeypatch.setattr(session.Session, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(RunError, match=r"no run folder can be made.*outputs="):
        train.main(asked)


def test_held_out_rows_are_measured_when_asked(tmp_path: Path) -> None:
    held = write(tmp_path / "held.jsonl", [{**r, "prompt": "new"} for r in pair_rows(2)])
    words = ("objective=dpo", "steps=5", "eval.every=2")
    by_file = go(on_pairs(tmp_path, *words, f"data.eval_path={held}"))
    by_share = go(on_pairs(tmp_path, *words, "data.eval_fraction=0.3", "eval.rows=1"))
    for run, kept in ((by_file, 6), (by_share, 4)):
        assert [r["step"] for r in metrics(run) if "eval/loss" in r] == [2, 4, 5]
        assert read(run / "summary.json")["rows"]["kept"] == kept


def test_a_held_out_file_brings_its_own_bare_rows(tmp_path: Path) -> None:
    """bare_path belongs to the train file: none of its rows is held out."""
    rows = pair_rows()
    full, bare = ([r for r in rows if r["view"] == v] for v in ("full", "bare"))
    train_path, bare_path = write(tmp_path / "t.jsonl", full[:4]), write(tmp_path / "e.jsonl", bare)
    held = write(tmp_path / "held.jsonl", [*full[4:], bare[-1]])
    run = go(
        config(
            tmp_path, "data=pairs", "objective=bvpo", f"data.path={train_path}",
            f"data.bare_path={bare_path}", f"data.eval_path={held}", "data.max_refused=1",
        )
    )  # fmt: skip
    last = metrics(run)[-1]
    assert "eval/full/loss" in last and "eval/bare/loss" in last
    assert read(run / "summary.json")["rows"]["kept"] == 4


def test_checkpoints_every_few_steps_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    words = ("objective=sft", "steps=7", "checkpoint.every=2")
    run = go(on_pairs(tmp_path, *words))
    assert steps(run) == ["step-000006", "step-000007"]
    words = (*words, "checkpoint.keep=1", "checkpoint.best=grad_norm", f"outputs={tmp_path}/best")
    run = go(on_pairs(tmp_path, *words))
    norms = [r["grad_norm"] for r in metrics(run)]
    best = read(run / "summary.json")["best"]
    assert best == {"metric": "grad_norm", "value": min(norms), "step": 1 + norms.index(min(norms))}
    assert steps(run) == sorted({f"step-{best['step']:06d}", "step-000007"})


def test_best_by_a_metric_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.best: 'los' is not a metric.*loss"):
        train.main(on_pairs(tmp_path, "objective=sft", "checkpoint.best=los"))


def test_precisions_agree_as_far_as_they_can(tmp_path: Path) -> None:
    exact, single, half = (
        metrics(go(on_pairs(tmp_path, "objective=bvpo", f"precision={p}")))
        for p in ("fp64", "fp32", "bf16")
    )
    for other, tolerance in ((single, 1e-4), (half, 0.05)):
        assert other[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert other[1]["loss"] == pytest.approx(exact[1]["loss"], abs=tolerance)
        assert other[1]["loss"] != exact[1]["loss"]


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize(
    "word", ["activation_checkpointing=true", "scoring.layout=padded", "scoring.chunk=3", "micro=1"]
)
def test_how_it_is_computed_does_not_matter(word: str, lora: int, tmp_path: Path) -> None:
    words = ("objective=bvpo", "precision=fp64", "steps=4", f"model.lora.r={lora}")
    one, two = (metrics(go(on_pairs(tmp_path, *words, *w))) for w in ((), (word,)))
    for line in (one[0], two[0]):  # all margins are 0 but for rounding
        line |= {name: 0.0 for name in line if name.endswith("accuracies")}
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)


def test_the_layout_of_lists_does_not_matter_either(tmp_path: Path) -> None:
    for context in ("independent", "inlist"):
        words = ("precision=fp64", f"data.context={context}")
        one, two = (
            metrics(go(on_lists(tmp_path, *words, f"scoring.layout={layout}")))
            for layout in ("forest", "padded")
        )
        for a, b in zip(one, two, strict=True):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-9)


def test_a_scheduled_field_moves(tmp_path: Path) -> None:
    log = metrics(go(on_pairs(tmp_path, "objective=bvpo", "schedule.alpha=[1,0]", "steps=3")))
    assert [line["schedule/alpha"] for line in log] == [1.0, 0.5, 0.0]
    assert "bare/loss" not in log[0] and "full/loss" not in log[2]


def test_any_optimizer_of_torch_with_its_own_options(tmp_path: Path) -> None:
    words = ("objective=sft", "optimizer.name=RMSprop")
    plain = metrics(go(on_pairs(tmp_path, *words)))
    other = metrics(go(on_pairs(tmp_path, *words, "optimizer.options.alpha=0.5")))
    assert plain[0]["loss"] == other[0]["loss"] and plain[1]["loss"] != other[1]["loss"]


def test_another_beta_computes_no_reference_again(tmp_path: Path) -> None:
    for beta, computed in ((0.1, True), (0.7, False)):
        words = ("objective=dpo", f"objective.beta={beta}", f"optimizer.lr={beta / 10}")
        told = read(go(on_pairs(tmp_path, *words)) / "manifest.json")["reference"]
        assert bool(told["computed"]) is computed and bool(told["from_store"]) is not computed


def test_force_moves_the_older_run_aside(tmp_path: Path) -> None:
    asked = on_pairs(tmp_path, "objective=sft")
    run = go(asked)
    assert metrics(go({**asked, "force": True})) == metrics(run.with_name(f"{run.name}.old-1"))


def test_refused_rows_are_listed(tmp_path: Path) -> None:
    rows = [*pair_rows(), {"prompt": "x", "view": "full", "chosen": "a", "rejected": "a"}]
    path = write(tmp_path / "pairs.jsonl", rows)
    run = go(on_pairs(tmp_path, "objective=dpo", "data.max_refused=0.5"))
    listed = [json.loads(line) for line in (run / "refused.jsonl").read_text().splitlines()]
    assert f"{path.name}:13" in [r["where"] for r in listed]
    assert sum(read(run / "summary.json")["rows"]["refused"].values()) == len(listed)


def test_lists_and_pairs_of_one_file_agree(tmp_path: Path) -> None:
    """A pair as a list of two is the same to DPO."""
    pairs = [{"prompt": f"q{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(4)]
    lists = [
        {"prompt": r["prompt"], "candidates": [r["chosen"], r["rejected"]], "relevance": [1, 0]}
        for r in pairs
    ]
    write(tmp_path / "pairs.jsonl", pairs)
    write(tmp_path / "lists.jsonl", lists)
    one = metrics(go(on_pairs(tmp_path, "objective=dpo")))
    two = metrics(go(on_lists(tmp_path, "objective=dpo")))
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    assert list_rows()


MINE = '''\
"""Hinge on the gap between best and worst."""

from dataclasses import dataclass

import torch

from bvrank.records import Outcome, Preferences


@dataclass(frozen=True)
class Hinge:
    margin: float = 1.0

    views = ("full",)
    candidates = 2
    needs_reference = False

    def __call__(self, prefs: Preferences) -> Outcome:
        best = torch.where(prefs.valid, prefs.relevance, -torch.inf).argmax(-1, keepdim=True)
        worst = torch.where(prefs.valid, prefs.relevance, torch.inf).argmin(-1, keepdim=True)
        gap = (prefs.policy.gather(-1, best) - prefs.policy.gather(-1, worst)).squeeze(-1)
        present = prefs.valid.any(-1)
        loss = torch.where(present, torch.relu(self.margin - gap), 0.0)
        return Outcome(loss=loss, count=present.double(), metrics={"gap": gap.detach()})
'''


def test_an_objective_outside_the_package_trains(tmp_path: Path) -> None:
    conf = tmp_path / "mylab" / "conf" / "objective"
    conf.mkdir(parents=True)
    (tmp_path / "mylab" / "squeeze.py").write_text(MINE)
    (conf / "squeeze.yaml").write_text("# Hinge.\n_target_: mylab.squeeze.Hinge\nmargin: 1.0\n")
    write(tmp_path / "pairs.jsonl", pair_rows())
    words = (
        "hydra.searchpath=[pkg://mylab.conf]", "objective=squeeze", "objective.margin=500",
        "data=pairs", "data.path=pairs.jsonl", "store=store", "steps=2", "batch=6",
        "schedule.margin=[500,600]", "model.teach.steps=0", "model.hidden_size=16",
        "model.layers=1", "model.heads=2",
    )  # fmt: skip
    done = process("train", *words, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert done.code == 0, done.err
    (run,) = (tmp_path / "outputs").iterdir()
    log = metrics(run)
    assert log[0]["loss"] == pytest.approx(500 - log[0]["gap"], rel=1e-5)
    assert run.name.startswith("squeeze-pairs-")


@pytest.mark.parametrize(
    ("word", "where"),
    [("launcher.processes=2", "engine"), ("launcher.processes=3", "batch"),
     ("launcher.processes=0", "launcher.processes"), ("examples.count=-1", "examples.count")],
)  # fmt: skip
def test_a_finished_run_hides_no_mistake(word: str, where: str, tmp_path: Path) -> None:
    go(on_pairs(tmp_path, "objective=dpo"))
    with pytest.raises(ConfigError) as caught:
        train.main(on_pairs(tmp_path, "objective=dpo", word))
    assert caught.value.where == where


def test_a_finished_run_tells_what_would_have_had_an_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(on_pairs(tmp_path, "objective=dpo"))
    capsys.readouterr()
    words = ("examples.count=3", "examples.max_new_tokens=9", "tracker=tensorboard")
    assert train.main(on_pairs(tmp_path, "objective=dpo", *words)) == 0
    told = capsys.readouterr().err.splitlines()
    assert "examples.count 3 (run has 0): force=true runs again" in told
    assert any(line.startswith("examples.max_new_tokens 9 (run has ") for line in told)
    assert any(line.startswith("tracker.tensorboard") for line in told)
