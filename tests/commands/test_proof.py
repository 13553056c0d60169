"""Resume is proved on real runs; most stay in this process, which changes nothing they write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import doctor, proof, train
from bvrank.commands.compose import composed, frozen
from bvrank.commands.diagnosis import Check
from bvrank.commands.sweep import Point
from bvrank.errors import BvrankError, ConfigError, Interrupted
from tests.commands.fast import QUICK, TINY, pair_rows, write
from tests.commands.line import ROOT

# An engine of the user's own, whose load forgets the moments.
FORGETFUL = """
from dataclasses import dataclass
from bvrank.engines.local import Local, LocalEngine

class Engine(LocalEngine):
    def load(self, folder):
        super().load(folder)
        self.optimizer.state.clear()

@dataclass(frozen=True)
class Forgetful(Local):
    def start(self, *a, **k):
        made = super().start(*a, **k)
        made.__class__ = Engine
        return made
"""


def config(place: Path, *words: str) -> dict[str, Any]:
    path = write(place / "pairs.jsonl", pair_rows())
    return frozen(composed("doctor", [
        *QUICK, *TINY, "objective=dpo", "data=pairs", f"data.path={path}", "resume=true",
        f"outputs={place / 'outputs'}", f"store={place / 'store'}", *words,
    ]))  # fmt: skip


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process."""

    def run(wanted: dict[str, Any], place: Path) -> Point:
        try:
            train.main(wanted)
        except BvrankError as error:
            return Point((), "failed", 0.0, message=str(error))
        return Point((), "done", 0.0)

    monkeypatch.setattr(proof, "_run", run)


def left(place: Path) -> set[str]:
    return {p.name for p in place.iterdir()} - {"pairs.jsonl", "store", "mylab"}


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def proven(wanted: dict[str, Any], steps: int = 4) -> list[Check]:
    return proof.proven({k: v for k, v in wanted.items() if k not in ("json", "proof")}, steps)


GOOD = {"whole run": "ok", "resumed run": "ok", "checkpoint": "ok", "figures": "ok"}


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("words", [
    (), ("objective=bvpo", "data.pairing=independent", "schedule.alpha=[1,0]"),
    ("model.lora.r=2", "model.lora.dropout=0.5"),
    ("data.eval_fraction=0.3", "eval.every=50", "checkpoint.best=eval/loss", "checkpoint.keep=1"),
    ("optimizer.name=SGD", "log.every=9", "batch=4", "micro=2", "precision=bf16"),
])  # fmt: skip
def test_runs_that_resume_are_bit_equal(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert statuses(proven(config(tmp_path, *words))) == GOOD
    assert left(tmp_path) == set()


@pytest.mark.usefixtures("inside")
def test_an_engine_that_forgets_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.syspath_prepend(str(tmp_path))
    wanted = config(tmp_path, "engine._target_=mylab.forgetful.Forgetful", "trusted=[mylab]")
    checks = proven(wanted)
    assert statuses(checks) == {**GOOD, "checkpoint": "problem", "figures": "problem"}
    files, figures = checks[2].findings[0], checks[3].findings[0]
    assert {r.where for r in files.rows} == {
        "engine/optimizer.pt", "policy/model.safetensors", "state.json"
    }  # fmt: skip
    weights = next(r for r in files.rows if r.where.startswith("policy"))
    assert "by at most" in weights.detail and "lm_head" not in weights.detail
    assert figures.rows[0].where.startswith("step 4, ")  # step 3 is computed before the moments act
    assert all(r.where.startswith("step 4, ") for r in figures.rows)
    assert left(tmp_path) == set()


@pytest.mark.usefixtures("inside")
def test_a_run_that_begins_anew_is_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal at the end, and yet nothing was resumed."""
    monkeypatch.setattr("bvrank.checkpoint.newest_whole", lambda folder: (None, []))
    checks = proven(config(tmp_path))
    assert statuses(checks) == {**GOOD, "resumed run": "problem"}


@pytest.mark.usefixtures("inside")
def test_a_run_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    checks = proven(config(tmp_path, "data.max_length=5"))
    assert statuses(checks) == {"whole run": "problem"}
    assert "no row is left" in checks[0].findings[0].what
    assert left(tmp_path) == set()


@pytest.mark.usefixtures("inside")
def test_the_users_store_keeps_what_is_made_and_gets_no_reference(tmp_path: Path) -> None:
    teach = ("model.teach.steps=1", "model.teach.problems=20")
    proven(config(tmp_path, *teach))
    kept = {p.parent.parent.name for p in (tmp_path / "store").rglob("config.json")}
    assert kept == {"models"} and not (tmp_path / "store" / "reference").exists()


def test_the_short_run_keeps_what_shapes_a_step(tmp_path: Path) -> None:
    wanted = config(tmp_path, "steps=900", "data.eval_fraction=0.5", "eval.every=100",
                    "checkpoint.every=300", "checkpoint.keep=1", "name=mine")  # fmt: skip
    (tmp_path / "place").mkdir()
    short = proof.shortened(wanted, 6, tmp_path / "place")
    changed = {k for k in wanted if wanted[k] != short[k]}
    assert changed == {"steps", "checkpoint", "eval", "outputs", "store", "name", "resume"}
    assert short["checkpoint"] == {"every": 3, "keep": 2, "best": None}
    assert short["eval"] == {"every": 3, "rows": 16}
    arithmetic = frozen(composed("doctor", [f"store={tmp_path / 'other'}"]))
    (tmp_path / "own").mkdir()
    data = proof.shortened(arithmetic, 4, tmp_path / "own")["data"]
    assert (data["test_problems"], data["test_samples"]) == (8, 2)
    assert {k for k in data if data[k] != arithmetic["data"][k]} == {
        "test_problems",
        "test_samples",
    }


@pytest.mark.usefixtures("inside")
def test_the_command_tells_the_verdict(tmp_path: Path, capsys: Any) -> None:
    assert doctor.main(config(tmp_path, "proof.steps=2", "json=true")) == 0
    found = json.loads(closing(capsys.readouterr().out))
    assert found["verdict"] == "ok"


def closing(out: str) -> str:
    """The document behind the tables that the runs in this process print."""
    return out[out.index("{\n") :]


@pytest.mark.parametrize("steps", [3, 0, -2, 1])
def test_an_odd_number_of_steps_has_no_middle(tmp_path: Path, steps: int) -> None:
    with pytest.raises(ConfigError) as caught:
        doctor.main(config(tmp_path, f"proof.steps={steps}"))
    assert caught.value.where == "proof.steps"


def command(place: Path, *words: str) -> list[str]:
    path = write(place / "pairs.jsonl", pair_rows())
    return [sys.executable, "-P", "-m", "bvrank", "doctor", *QUICK, *TINY, "objective=dpo",
            "data=pairs", f"data.path={path}", "resume=true", "outputs=outputs", "store=store",
            *words]  # fmt: skip


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_from_the_command_line_in_processes_of_their_own(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, "json=true"), cwd=tmp_path, env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {c["name"]: c["status"] for c in found["checks"]} == GOOD
    assert "run 1 of 2" in done.stderr and "going on after step 2" in done.stderr
    assert left(tmp_path) == set()


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    running = subprocess.Popen(command(tmp_path, "proof.steps=100000"), cwd=tmp_path,
                               env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("training: "):
            break
    assert list(tmp_path.glob(".bvrank-doctor-*"))
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "error: stopped" in rest.splitlines()[-1] and "Traceback" not in rest
    assert left(tmp_path) == set()


def test_an_interrupt_between_the_runs_cleans_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Point:
        raise Interrupted("stopped")

    monkeypatch.setattr(proof, "_run", stopped)
    with pytest.raises(Interrupted):
        proven(config(tmp_path))
    assert left(tmp_path) == set()
