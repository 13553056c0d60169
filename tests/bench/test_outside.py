"""Commands timed from outside: what they leave is read, and one that fails is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bvrank.bench import outside
from bvrank.errors import RunError

# A stand-in for `bvrank`: what it does is told by its words.
COMMAND = """
import json, sys, time
from pathlib import Path
words = sys.argv[1:]
if "fail" in words:
    print("a line")
    print("error: why", file=sys.stderr)
    sys.exit(2)
if "idle" not in words and words[0] == "train":
    run = Path("runs/one")
    run.mkdir(parents=True)
    lines = [json.dumps({"speed/seconds": s}) for s in (9.0, 1.0, 2.0)]
    (run / "metrics.jsonl").write_text("\\n".join(lines) + "\\n")
if "forever" in words:
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    monkeypatch.setattr(outside, "_command", lambda words: [sys.executable, str(script), *words])


def test_a_command_is_timed_to_its_end(tmp_path: Path) -> None:
    assert 0 < outside.answered(["--help"], tmp_path) < 10
    with pytest.raises(RunError, match=r"^bvrank store fail: error: why"):
        outside.answered(["store", "fail"], tmp_path)


def test_the_first_step_does_not_count_and_nothing_is_left(tmp_path: Path) -> None:
    assert outside.steps(["steps=3"], tmp_path, threads=1) == [1.0, 2.0]
    assert not (tmp_path / "runs").exists()
    with pytest.raises(RunError, match=r"^bvrank train.*: error: why"):
        outside.steps(["fail"], tmp_path, threads=1)


def test_a_run_is_stopped_behind_its_first_step(tmp_path: Path) -> None:
    assert 0 < outside.first_step(["forever"], tmp_path) < 10
    assert not (tmp_path / "runs").exists()


def test_a_run_that_ends_before_its_first_step_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="error: why"):
        outside.first_step(["fail"], tmp_path)
    with pytest.raises(RunError, match="bvrank train: ended before its first step"):
        outside.first_step(["idle"], tmp_path)
    monkeypatch.setattr(outside, "PATIENCE", 0.2)
    with pytest.raises(RunError, match="said nothing in 0 s"):
        outside.first_step(["idle", "forever"], tmp_path)
