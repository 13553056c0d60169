"""Runs that are stopped, by whatever, and go on: bit for bit those that were not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from bvrank.commands import train
from bvrank.errors import Interrupted, RunError
from tests.commands.fast import (
    folder,
    go,
    interrupt_at,
    job,
    metrics,
    on_pairs,
    read,
    same,
    steps,
    weights,
)
from tests.commands.line import ROOT


def test_an_unfinished_run_is_refused_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = on_pairs(tmp_path, "objective=dpo", "steps=4")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        with pytest.raises(Interrupted, match=r"after step 2 of 4; it is saved.*resume=true"):
            train.main(asked)
    assert read(folder(asked) / "manifest.json")["status"] == "interrupted"
    with pytest.raises(RunError, match="resume=true"):
        train.main(asked)
    assert len(metrics(go({**asked, "resume": True}))) == 4


RESUMED: dict[str, tuple[str, ...]] = {
    "bvpo": ("objective=bvpo", "micro=1"),
    "independent": ("objective=bvpo", "data.pairing=independent", "precision=bf16"),
    "schedule": ("objective=bvpo", "schedule.alpha=[1,0]", "optimizer.name=RMSprop"),
    "eval": (
        "objective=dpo", "data.eval_fraction=0.4", "eval.every=2", "checkpoint.best=eval/loss",
        "checkpoint.every=2",
    ),
    "lora": ("objective=dpo", "model.lora.r=2", "model.lora.dropout=0.3"),
    "fp64": ("objective=sft", "precision=fp64", "activation_checkpointing=true"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_resume_is_bit_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*RESUMED[name], "steps=6")
    whole = go(on_pairs(tmp_path, *words, f"outputs={tmp_path}/whole"))
    asked = on_pairs(tmp_path, *words)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_at(patched, 3)
        train.main(asked)
    torch.rand(5)
    parts = go({**asked, "resume": True})
    assert same(weights(whole, 6), weights(parts, 6))
    assert metrics(whole) == metrics(parts)
    told, again = (read(run / "summary.json") for run in (whole, parts))
    assert told.get("best") == again.get("best")
    assert steps(parts)[-1] == steps(whole)[-1]


def test_a_signal_to_a_process_saves_and_the_run_goes_on_bit_equal(tmp_path: Path) -> None:
    words = ("objective=bvpo", "steps=60", "batch=2", "micro=1")
    asked = on_pairs(tmp_path, *words)
    worker = subprocess.Popen(
        job(tmp_path, asked, "-m", "bvrank.commands.job", "train"),
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = folder(asked) / "metrics.jsonl"
    while worker.poll() is None and not (log.is_file() and log.stat().st_size):
        time.sleep(0.005)
    worker.send_signal(signal.SIGINT)
    _, told = worker.communicate(timeout=60)
    assert worker.returncode == 130, told
    assert "resume=true" in told and "Traceback" not in told
    assert 0 < len(metrics(folder(asked))) < 60
    parts = go({**asked, "resume": True})
    whole = go(on_pairs(tmp_path, *words, f"outputs={tmp_path}/whole"))
    assert same(weights(whole, 60), weights(parts, 60)) and metrics(whole) == metrics(parts)


def test_a_run_killed_behind_its_last_step_ends_with_its_figures(tmp_path: Path) -> None:
    asked = on_pairs(tmp_path, "objective=dpo")
    run = go(asked)
    figures = read(run / "summary.json")["final"]
    (run / "summary.json").unlink()
    told = read(run / "manifest.json") | {"status": "running"}
    (run / "manifest.json").write_text(json.dumps(told))
    go({**asked, "resume": True})
    final = read(run / "summary.json")["final"]
    assert {k: v for k, v in final.items()} == figures
