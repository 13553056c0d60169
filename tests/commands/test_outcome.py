from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.commands.outcome import VARIABLE, read_outcome, write_outcome


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outcome"
    monkeypatch.setenv(VARIABLE, str(path))
    outcome = {"status": "done", "folder": "outputs/ä", "headline": {"accuracy": 0.5}}
    write_outcome(outcome)
    assert read_outcome(path) == outcome


def test_outside_a_sweep_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    write_outcome({"status": "done"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_a_job_that_died_while_writing_said_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "outcome"
    path.write_text(text)
    assert read_outcome(path) == {}
    assert read_outcome(tmp_path / "none") == {}
