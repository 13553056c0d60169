from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import job
from bvrank.commands.outcome import VARIABLE, read_outcome
from bvrank.errors import ConfigError


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "outcome"))
    return tmp_path / "outcome"


def install(monkeypatch: pytest.MonkeyPatch, main: Callable[[dict[str, Any]], int]) -> None:
    module = types.SimpleNamespace(main=main)
    monkeypatch.setitem(sys.modules, "bvrank.commands.pretend", module)  # type: ignore[arg-type]


def start(tmp_path: Path, config: dict[str, Any]) -> int:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(config))
    return job.main(["pretend", str(path)])


def test_a_job_gets_the_frozen_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    install(monkeypatch, lambda config: seen.append(config) or 7)
    config = {"lr": 3e-05, "clip": float("inf"), "name": "ä", "list": [1, None]}
    assert start(tmp_path, config) == 7
    assert seen == [config]


def test_an_error_is_told_to_the_sweep_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(config: dict[str, Any]) -> int:
        raise ConfigError("must be\npositive", where="lr")

    install(monkeypatch, main)
    assert start(tmp_path, {}) == 2
    assert capsys.readouterr().err == "error: lr: must be positive\n"
    assert read_outcome(outcome) == {"status": "failed", "message": "lr: must be positive"}


def test_a_bug_is_told_to_the_sweep_and_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Path
) -> None:
    def main(config: dict[str, Any]) -> int:
        raise KeyError("x")

    install(monkeypatch, main)
    with pytest.raises(KeyError):
        start(tmp_path, {})
    assert read_outcome(outcome)["message"] == "KeyError: 'x'"


def test_a_plain_folder_beside_the_user_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    install(monkeypatch, lambda config: 0)
    assert start(tmp_path, {}) == 0
    assert sys.path[-1] == str(tmp_path)


def test_a_worker_never_imports_hydra() -> None:
    code = (
        "import sys, bvrank.commands.job; print({'hydra', 'omegaconf', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
