"""What a launcher may be asked, and how the end of ranks is told. Real ranks: tests/trials."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bvrank.commands import launch, train
from bvrank.commands.launch import Launcher
from bvrank.errors import ConfigError, Interrupted, TrainingError
from tests.commands.fast import on_pairs

GOOD: dict[str, Any] = {"code": 0, "what": "", "where": "", "repair": "", "traceback": "",
                        "secondary": False, "waited": False, "time": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("node", "where", "what"),
    [
        ({"processes": 0}, "processes", "at least 1, got 0"),
        ({"nodes": -1}, "nodes", "at least 1, got -1"),
        ({"timeout": 0.0}, "timeout", "greater than 0"),
        ({"timeout": float("inf")}, "timeout", "greater than 0"),
        ({"nodes": 2}, "rendezvous", "host:port for 2 machines, got None"),
        ({"nodes": 2, "rendezvous": "node0"}, "rendezvous", "got node0"),
        ({"nodes": 2, "rendezvous": ":29500"}, "rendezvous", "got :29500"),
        ({"rendezvous": "node0:29500"}, "rendezvous", "no effect on one machine"),
    ],
)
def test_what_a_launcher_refuses(node: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Launcher(**node)
    assert caught.value.where == where and what in caught.value.what


def test_auto_is_the_visible_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, processes in ((0, 1), (1, 1), (8, 8)):
        monkeypatch.setattr("torch.cuda.device_count", lambda n=found: n)
        assert Launcher(processes="auto").here == processes
    assert Launcher(processes=4, nodes=2, rendezvous="n:1").world == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("launcher.processes=2",), "engine: is of one process. Set engine=zero0"),
        (("launcher.processes=two",), "launcher.processes: must be a whole number or"),
        (("engine=zero1", "launcher.processes=3"),
         "batch: must be a multiple of 3 processes, got 16"),
        (("engine=zero1", "launcher.processes=2", "micro=16"),
         "batch: must be a multiple of micro=16 x 2 processes, got 16"),
        (("engine=zero1", "precision=fp64"), "precision: DeepSpeed has no fp64"),
        (("engine=zero2", "engine.ds.train_batch_size=3"),
         "engine.ds.train_batch_size: is set by bvrank. Its name is batch"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_before_anything_runs(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        train.main(on_pairs(tmp_path, "batch=16", *words))
    assert str(caught.value).startswith(said)
    assert not (tmp_path / "outputs").exists()


def ended(folder: Path, ends: dict[int, dict[str, Any]], failures: dict[int, Any],
          command: str = "train") -> int:  # fmt: skip
    for rank, end in ends.items():
        (folder / f"rank-{rank:05d}.end").write_text(json.dumps(GOOD | {"rank": rank} | end))
    agent: Any = SimpleNamespace(error=None, failures=failures)
    return launch._ended(folder, agent, command)


def died(code: int, timestamp: int = 1) -> Any:
    return SimpleNamespace(exitcode=code, pid=77, timestamp=timestamp)


def test_all_is_well(tmp_path: Path) -> None:
    assert ended(tmp_path, {0: {}, 1: {}}, {}) == 0


def test_a_rank_that_left_no_word_is_the_one_that_died(tmp_path: Path) -> None:
    """The first rank's complaint about the silence is not what happened."""
    silence = {"code": 3, "what": "heard nothing", "secondary": True, "time": 0.5}
    with pytest.raises(TrainingError, match=r"rank 1 \(process 77\) died of SIGKILL.*resume=true"):
        ended(tmp_path, {0: silence}, {0: died(3), 1: died(-9)})


def test_what_samples_goes_on_by_the_same_command(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as stop:
        ended(tmp_path, {}, {0: died(-9)}, "sample")
    assert "lower sampler.sequences. The same command goes on." in str(stop.value)


def test_a_rank_that_hangs_is_named_though_it_was_ended_by_force(tmp_path: Path) -> None:
    silence = {"code": 3, "what": "heard nothing", "secondary": True, "waited": True}
    with pytest.raises(TrainingError, match=r"heard nothing.*\(silent: rank 1\)"):
        ended(tmp_path, {0: silence}, {0: died(3), 1: died(-9)})


def test_of_two_that_died_the_first_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"rank 1 .* exit code 1"):
        ended(tmp_path, {}, {0: died(-15, 9), 1: died(1, 8)})


def test_a_ranks_own_error_goes_before_the_silence_of_others(tmp_path: Path) -> None:
    own = {"code": 2, "what": "is broken", "where": "a.jsonl:3", "repair": "Mend it.", "time": 2.0}
    silence = {"code": 3, "what": "heard nothing", "secondary": True}
    with pytest.raises(ConfigError, match=r"a\.jsonl:3: is broken\. Mend it\."):
        ended(tmp_path, {0: silence, 1: own}, {0: died(3), 1: died(2)})


def test_an_agreed_stop_is_one(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped after step 5"):
        ended(tmp_path, {n: {"code": 130, "what": "stopped after step 5"} for n in (0, 1)}, {})


def test_a_bug_shows_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bug = {"code": 3, "what": "KeyError: 'x'", "traceback": "Traceback: here"}
    with pytest.raises(TrainingError, match="rank 1: KeyError"):
        ended(tmp_path, {0: {}, 1: bug}, {1: died(3)})
    assert "Traceback: here" in capsys.readouterr().err


def test_secrets_in_a_ranks_traceback_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_API_KEY", "planted-value")
    bug = {"code": 3, "what": "KeyError: 'x'", "traceback": "Traceback: planted-value"}
    with pytest.raises(TrainingError):
        ended(tmp_path, {0: {}, 1: bug}, {1: died(3)})
    assert capsys.readouterr().err == "Traceback: ***\n"


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert launch._environment(8)["OMP_NUM_THREADS"] == "2"
    assert launch._environment(32)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launch._environment(8)["OMP_NUM_THREADS"] == "5"


def test_the_signal_that_was_heard_is_told() -> None:
    """Ranks get another one in its place."""
    passed = Interrupted("stopped by SIGTERM", repair="Go on.")
    assert str(launch._as_wished(passed, [signal.SIGINT])) == "stopped by SIGINT. Go on."
    assert launch._as_wished(passed, []) is passed
    saved = Interrupted("stopped after step 3 of 9; it is saved")
    assert launch._as_wished(saved, [signal.SIGINT]) is saved
