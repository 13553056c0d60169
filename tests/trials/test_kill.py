"""The kill table with two rows: the whole one is made by `make trials`."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trials import Request
from tests.trials.ends import unlike
from tests.trials.kill import started, table
from tests.trials.process import Running, descendants


def test_a_kill_in_training_and_one_in_a_save_change_nothing(tmp_path: Path) -> None:
    made = table(Request(tmp_path, ("steps=30", "model.shape.num_hidden_layers=2")), kills=2)
    assert made.wrong == 0, made.rows
    cells = [dict(zip(made.columns, row, strict=True)) for row in made.rows]
    assert {row["where"] for row in cells} == {"training", "save"}
    for row in cells:
        assert (row["left behind"] != "nothing") is (row["where"] == "save")
        assert int(row["resumed from"]) <= int(row["step"])
        assert row["bit-equal"] == "yes"


def run_folder(folder: Path, loss: float = 0.5) -> Path:
    step = folder / "checkpoints" / "step-000002"
    (step / "policy").mkdir(parents=True)
    (step / "policy" / "a.safetensors").write_bytes(b"weights")
    state = {"state": {"step": 2, "rng": {"cpu": "00"}}, "files": {}, "sha256": ""}
    (step / "state.json").write_text(json.dumps(state))
    lines = [{"step": n, "loss": loss, "speed/seconds": hash(str(folder))} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    final = {"final": {"loss": loss, "speed/seconds": 1}, "next": str(folder)}
    (folder / "summary.json").write_text(json.dumps(final))
    return folder


def test_ends_are_alike_but_for_speed(tmp_path: Path) -> None:
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    assert unlike(one, two) == []
    other = run_folder(tmp_path / "other", loss=0.25)
    assert unlike(one, other) == ["metrics.jsonl", "summary.json"]
    step = two / "checkpoints" / "step-000002"
    (step / "policy" / "a.safetensors").write_bytes(b"weight!")
    assert unlike(one, two) == ["policy/a.safetensors"]
    (step / "policy" / "a.safetensors").unlink()
    (step / "state.json").write_text('{"state": {"step": 3}}')
    assert unlike(one, two) == ["policy/a.safetensors", "state.json"]
    (two / "checkpoints" / "step-000003").mkdir()
    assert unlike(one, two) == ["step-000002 against step-000003"]


@pytest.mark.parametrize(
    ("err", "step"),
    [
        ("rows: 6 kept\ngoing on after step 12\n", 12),
        ("no checkpoint to go on from: starting at step 1", 0),
        ("run: nothing to resume, starting from step 0", 0),
        ("", 0),
    ],
)
def test_where_a_session_started(err: str, step: int) -> None:
    assert started(err) == step


FAMILY = """
import subprocess, sys, time
depth = int(sys.argv[1])
if depth:
    child = subprocess.Popen([sys.executable, __file__, str(depth - 1)])
    print(depth, flush=True)
    sys.exit(5 if child.wait() else 0)
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["all", "one"])
def test_a_kill_reaches_every_descendant_or_one(
    victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    command = (sys.executable, str(tmp_path / "family.py"))
    monkeypatch.setattr("tests.trials.process.COMMAND", command)
    running = Running(tmp_path / "logs", ["2"])
    assert running.wait_for(lambda: len(descendants(running.process.pid)) == 2)
    below = descendants(running.process.pid)
    done = running.kill(victim, random.Random(0))
    assert done.code == (-signal.SIGKILL if victim == "all" else 5)
    alive = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, below))],
                           capture_output=True, text=True, check=False)  # fmt: skip
    rest = [line for line in alive.stdout.split() if not line.startswith("Z")]
    assert rest == [] if victim == "all" else len(rest) <= 1
    for pid in below:
        subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
