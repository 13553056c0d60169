from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bvrank.commands import app
from bvrank.commands.guard import STOPS
from bvrank.commands.sweep import Point, Sweep, table, varied
from bvrank.errors import ConfigError
from tests.commands.line import ROOT, Call

WORKER = """\
import json, os, signal, sys, time

command, path, *typed = sys.argv[1:]
assert f"seed={json.load(open(path))['seed']}" in typed
config = json.load(open(path))
seed = config["seed"]


def outcome(**values):
    open(os.environ["BVRANK_OUTCOME"], "w").write(json.dumps(values))


print("job", command, seed, flush=True)
if seed == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 2:
    outcome(status="failed", message="lr: must be positive")
    sys.exit(2)
if seed == 3:
    outcome(status="skipped", folder="outputs/b", headline={"accuracy": 0.25})
    sys.exit()
if seed == 4:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        outcome(status="failed", message="stopped, state is saved", folder="outputs/c")
        sys.exit(130)
if seed == 5:
    sys.exit(9)
outcome(status="done", folder="outputs/a", headline={"accuracy": 0.123456, "steps": 3})
"""


@pytest.fixture
def worker(tmp_path: Path) -> list[str]:
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return [sys.executable, str(path)]


@pytest.fixture
def sweep(
    bvrank: Callable[..., Call],
    worker: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Call]:
    """`bvrank train -m ...` with the worker above in place of the real one."""
    monkeypatch.setattr(app, "Sweep", partial(Sweep, worker=worker))
    return lambda *args: bvrank("train", "-m", *args)


def rows(done: Call) -> list[list[str]]:
    """The table's cells, without the seconds."""
    text = done.out[done.out.index("   point") :]
    return [line.split()[:-1] for line in text.strip().splitlines()[1:]]


def test_a_grid_is_one_process_per_point_and_a_table(sweep: Callable[..., Call]) -> None:
    done = sweep("objective=dpo,bvpo", "seed=0,3", "steps=7")
    assert (done.code, done.err, done.config) == (0, "", None)
    assert done.out.count("job train ") == 4
    assert "[3] objective=bvpo seed=0 steps=7\njob train 0\n" in done.out
    assert rows(done) == [
        ["1", "objective=dpo", "seed=0", "done", "0.1235", "3", "outputs/a"],
        ["2", "objective=dpo", "seed=3", "already", "there", "0.25", "outputs/b"],
        ["3", "objective=bvpo", "seed=0", "done", "0.1235", "3", "outputs/a"],
        ["4", "objective=bvpo", "seed=3", "already", "there", "0.25", "outputs/b"],
    ]


def test_a_crash_is_one_failed_row(sweep: Callable[..., Call]) -> None:
    done = sweep("seed=1,2,5,0")
    assert done.code == 1
    assert rows(done) == [
        ["1", "seed=1", "failed:", "killed", "by", "SIGKILL"],
        ["2", "seed=2", "failed:", "lr:", "must", "be", "positive"],
        ["3", "seed=5", "failed:", "ended", "with", "exit", "code", "9"],
        ["4", "seed=0", "done", "0.1235", "3", "outputs/a"],
    ]


def test_a_point_without_a_value_is_a_failed_row(sweep: Callable[..., Call]) -> None:
    done = sweep("seed=0", "name=a,'???'")
    assert done.code == 1
    assert rows(done)[1][:6] == ["2", "name='???'", "failed:", "name:", "needs", "a"]


def test_ranges_choices_and_open_nodes(sweep: Callable[..., Call]) -> None:
    done = sweep("seed=range(6,8)", "schedule.alpha=choice([1,0],[0,1])")
    assert done.code == 0
    assert [row[:3] for row in rows(done)] == [
        ["1", "seed=6", "schedule.alpha=[1,0]"],
        ["2", "seed=6", "schedule.alpha=[0,1]"],
        ["3", "seed=7", "schedule.alpha=[1,0]"],
        ["4", "seed=7", "schedule.alpha=[0,1]"],
    ]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("objective=dpo,bvp", "error: objective: there is no option 'bvp'. Did you mean 'bvpo'?"),
        ("optimiser.lr=1,2", "error: optimiser.lr: there is no such key. Did you mean 'optim"),
        ("seed=interval(0,1)", "error: BasicSweeper does not support sweep type"),
    ],
)
def test_a_wrong_grid_runs_nothing(sweep: Callable[..., Call], override: str, line: str) -> None:
    done = sweep(override)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)


def test_nothing_is_left_in_the_users_folder(
    sweep: Callable[..., Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    sweep("seed=0,3")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_the_job_gently_and_then_the_sweep(
    tmp_path: Path, worker: list[str], number: int
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys\nfrom functools import partial\nimport bvrank.commands.app as app\n"
        "from bvrank.cli import main\n"
        f"app.Sweep = partial(app.Sweep, worker={worker!r})\n"
        "sys.exit(main(['train', '-m', 'seed=0,4,3']))\n"
    )
    log = tmp_path / "log"
    with log.open("w") as out:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, str(driver)], stdout=out, env=environment)
        wait_for(lambda: "job train 4" in log.read_text())
        time.sleep(0.2)  # the worker is inside its try
        process.send_signal(number)
        assert process.wait(30) == 130
    text = log.read_text()
    assert "job train 3" not in text
    last = text.strip().splitlines()[-1].split()
    assert last[:6] == ["2", "seed=4", "stopped:", "state", "is", "saved"]


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_config_that_cannot_be_composed_is_a_point_too(tmp_path: Path) -> None:
    sweep = Sweep("train", str(tmp_path))
    assert not sweep.started
    assert sweep.run(ConfigError("needs a value", where="seed"), ["seed=???"]) is None
    assert sweep.started
    assert sweep.points[0].message == "seed: needs a value"
    assert sweep.finish() == 1


def test_the_first_figure_goes_to_the_sweeper(tmp_path: Path, worker: list[str]) -> None:
    assert Sweep("train", str(tmp_path), worker).run({"seed": 0}, ["seed=0"]) == 0.123456


def test_a_worker_finds_this_package_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    sweep = Sweep("nothing", str(tmp_path))
    sweep.run({}, [])
    assert "No module named 'bvrank.commands.nothing'" in sweep.points[0].message


def test_signals_are_as_they_were(tmp_path: Path, worker: list[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    Sweep("train", str(tmp_path), worker).run({"seed": 3}, [])
    assert signal.getsignal(signal.SIGINT) is before


def test_only_what_varies_is_shown() -> None:
    points = [
        Point((f"seed={n}", "steps=1", *extra), "done", 0.0)
        for n, extra in ((0, ()), (1, ("x=1",)))
    ]
    assert varied(points) == ["seed=0", "seed=1 x=1"]
    assert varied(points[:1]) == ["seed=0 steps=1"]


def test_figures_of_different_points_share_a_table() -> None:
    text = table(
        [
            Point(("a=1",), "done", 61.25, "outputs/a", {"loss": 1.0}),
            Point(("a=2",), "done", 1.0, "outputs/b", {"accuracy": "0.5 [0.4, 0.6]", "loss": None}),
        ]
    )
    assert text.splitlines() == [
        "   point  status  loss        accuracy  run folder  seconds",
        "1  a=1    done       1                  outputs/a   61.2",
        "2  a=2    done          0.5 [0.4, 0.6]  outputs/b   1.0",
    ]
