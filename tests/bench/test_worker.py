"""Arms in processes of their own: they take turns, are measured, and end when told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import worker
from bvrank.bench.worker import Worker, started
from bvrank.errors import RunError

# A stand-in for bvrank.bench.worker's main: what it does is told by the job.
ARM = """
import json, os, sys
from pathlib import Path
job = json.loads(Path(sys.argv[-1]).read_text())
steps = job["steps"]
from bvrank.bench.worker import Turns
turns = Turns("cpu")
print("chatter")
turns.ready(unique=7)
kept = []
for number in range(steps):
    kept.append(bytearray(job["bytes"]))
    turns.done(job["threads"] + number / 2)
print("last words", file=sys.stderr)
if job.get("die"):
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "arm"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{ARM}' \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setattr(worker.sys, "executable", str(script))


def job(**changes: Any) -> dict[str, Any]:
    return {"threads": 3, "steps": 2, "bytes": 0, **changes}


def test_a_step_is_taken_when_it_is_asked_for_and_measured(tmp_path: Path) -> None:
    size = 50_000_000
    jobs = {"one": job(), "other": job(threads=5, bytes=size)}
    with started(jobs, tmp_path) as workers:
        assert workers["one"].ready["unique"] == 7 and workers["one"].ready["resident"] > 0
        first, second = (workers[name].step() for name in jobs)
        assert (first.loss, second.loss) == (3, 5), "what an arm prints is no answer"
        assert (workers["one"].step().loss, workers["other"].step().loss) == (3.5, 5.5)
        assert 0 < first.seconds < 10
        assert second.above >= size > first.above >= 0
        assert second.peak > second.above
    assert "chatter" in (tmp_path / "one.log").read_text()


@pytest.mark.parametrize(("die", "why"), [(False, "last words"), (True, "killed, perhaps")])
def test_an_arm_that_ends_untimely_is_named_with_its_last_words(
    die: bool, why: str, tmp_path: Path
) -> None:
    with started({"short": job(steps=1, die=die)}, tmp_path) as workers:
        workers["short"].step()
        with pytest.raises(RunError, match=rf"^bench: the arm short ended \({why}"):
            workers["short"].step()


def test_an_arm_that_does_not_start_is_told_and_the_others_are_ended(tmp_path: Path) -> None:
    made: list[Worker] = []
    real = Worker.__init__

    def noted(self: Worker, *given: Any) -> None:
        made.append(self)
        real(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "__init__", noted)
        jobs = {"whole": job(), "broken": {"threads": 1}}
        with pytest.raises(RunError, match="the arm broken ended"), started(jobs, tmp_path):
            raise AssertionError("it never starts")
    assert [w._process.poll() is not None for w in made] == [True, True]


def test_an_arm_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    (one,) = (Worker(job(), tmp_path, "one"),)
    assert one._process.stdin is not None
    one._process.stdin.close()
    assert one._process.wait(10) == 0
    one.close()


def test_threads_are_those_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    real = worker.subprocess.Popen

    def popen(*given: Any, env: dict[str, str], **named: Any) -> Any:
        seen.append(env)
        return real(*given, env=env, **named)

    monkeypatch.setattr(worker.subprocess, "Popen", popen)
    with started({"one": job()}, tmp_path):
        pass
    assert seen[0]["OMP_NUM_THREADS"] == seen[0]["MKL_NUM_THREADS"] == "3"
    assert json.loads((tmp_path / "one.json").read_text()) == job()
