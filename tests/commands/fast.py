"""Runs of `bvrank train` that take a moment: a model of a few thousand weights, a few rows."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bvrank.commands import train
from bvrank.commands.compose import composed, frozen
from bvrank.tracking.jsonl import Jsonl

TINY = (
    "model.hidden_size=16", "model.layers=1", "model.heads=2", "model.intermediate_size=32",
    "model.teach.steps=0",
)  # fmt: skip
QUICK = ("steps=2", "batch=2", "optimizer.lr=0.01", "examples.count=0")


def write(path: Path, rows: Sequence[Any]) -> Path:
    """The rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair_rows(count: int = 6, bare: bool = True) -> list[dict[str, Any]]:
    """Pairs with traces, and behind each one a pair without where `bare`."""
    rows: list[dict[str, Any]] = []
    for i in range(count):
        prompt = f"{i}+{i + 1}=?"
        right, wrong = str(2 * i + 1), str(2 * i + 2)
        rows.append({
            "prompt": prompt, "view": "full",
            "chosen": {"think": f"{i} and {i + 1}", "answer": right},
            "rejected": {"think": "no idea", "answer": wrong},
        })  # fmt: skip
        if bare:
            sides = {"chosen": {"answer": right}, "rejected": {"answer": f"{wrong}!"}}
            rows.append({"prompt": prompt, "view": "bare", **sides})
    return rows


def traced_rows(count: int = 8, traces: int = 2, bare: bool = True) -> list[dict[str, Any]]:
    """`pair_rows` with several traces of each answer."""
    rows = pair_rows(count, bare)
    for row in (r for r in rows if r["view"] == "full"):
        for side in ("chosen", "rejected"):
            one = row[side]
            row[side] = [{**one, "think": f"{one['think']} {n}"} for n in range(traces)]
    return rows


def on_traces(tmp_path: Path, *overrides: str, traces: int = 2, count: int = 8) -> dict[str, Any]:
    """`config` of bvpo on pairs with so many traces of each answer; measurements by 4 groups."""
    path = tmp_path / f"traces{traces}.jsonl"
    if not path.exists():
        write(path, traced_rows(count, traces))
    words = ("data=pairs", f"data.path={path}", "objective=bvpo", "batch=4")
    return config(tmp_path, *words, *overrides)


def list_rows(count: int = 6) -> list[dict[str, Any]]:
    """Ragged lists, some with the positions in which their candidates were shown."""
    rows = []
    for i in range(count):
        size = 2 + i % 3
        row: dict[str, Any] = {
            "prompt": f"query {i}", "candidates": [f"title {i}{j}" for j in range(size)],
            "relevance": [(i + j) % 3 for j in range(size)],
        }  # fmt: skip
        rows.append(row | ({"rank": [*range(size, 0, -1)]} if i % 2 else {}))
    return rows


def config(tmp_path: Path, *overrides: str, tiny: bool = True) -> dict[str, Any]:
    """The resolved config of a quick run in `tmp_path`."""
    places = (f"outputs={tmp_path}/outputs", f"store={tmp_path}/store")
    words = [*QUICK, *places, *(TINY if tiny else ()), *overrides]
    return frozen(composed("train", words))


def on_pairs(tmp_path: Path, *overrides: str, tiny: bool = True) -> dict[str, Any]:
    """`config` on six pairs of both views."""
    path = tmp_path / "pairs.jsonl"
    if not path.exists():
        write(path, pair_rows())
    return config(tmp_path, "data=pairs", f"data.path={path}", *overrides, tiny=tiny)


def on_lists(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    """`config` on six lists."""
    path = tmp_path / "lists.jsonl"
    if not path.exists():
        write(path, list_rows())
    return config(tmp_path, "data=lists", f"data.path={path}", "objective=irpo", *overrides)


def go(config: dict[str, Any]) -> Path:
    """Runs `bvrank train` in this process; returns the run folder."""
    assert train.main(config) == 0
    return folder(config)


def folder(config: dict[str, Any]) -> Path:
    """The run folder of a config."""
    return Path(config["outputs"]) / train.request(config).name


def metrics(run: Path, speed: bool = False) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if speed or not k.startswith("speed/")} for r in lines]


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def steps(run: Path) -> list[str]:
    """The names of the checkpoints."""
    return sorted(p.name for p in (run / "checkpoints").iterdir())


def weights(run: Path, step: int = 2) -> dict[str, torch.Tensor]:
    """The policy that a run saved behind `step`."""
    policy = run / "checkpoints" / f"step-{step:06d}" / "policy"
    return load_file(next(policy.glob("*.safetensors")))


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """Whether they are the same weights, to the last bit."""
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The user presses Ctrl-C while `step` is being logged."""
    log = Jsonl.log

    def pressed(self: Jsonl, report: Any) -> None:
        log(self, report)
        if report.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Jsonl, "log", pressed)


def job(tmp_path: Path, asked: dict[str, Any], *python: str) -> list[str]:
    """The command line of a process that gets the config as a worker does."""
    (tmp_path / "job.json").write_text(json.dumps(asked))
    return [sys.executable, "-P", *python, str(tmp_path / "job.json")]
