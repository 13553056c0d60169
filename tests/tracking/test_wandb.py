from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import ConfigError
from bvrank.protocols import Tracker
from bvrank.run import open_run
from bvrank.run.identity import group_name
from bvrank.tracking.wandb import Wandb
from tests.commands.line import ROOT
from tests.tracking import wandb_file
from tests.tracking.wandb_server import serving

KEY = "0123456789abcdef" * 2 + "01234567"
CONFIG = {
    "seed": 3, "steps": 2, "optimizer": {"lr": 0.5},
    "objective": {"_target_": "bvrank.objectives.dpo.DPO", "beta": 0.1},
    "data": {"_target_": "bvrank.data.pairs.Pairs", "seed": 3},
}  # fmt: skip
FIGURE = {"value": 0.5, "n": 8, "stderr": 0.1, "interval": [0.3, 0.7]}
SUMMARY = {
    "final": {"loss": 0.25}, "rows": {"kept": 7, "refused": {"empty": 2}},
    "best": {"metric": "eval/loss", "value": 0.2, "step": 1},
    "accuracy": {"thinking": {m: {"greedy": FIGURE} for m in ("before", "after", "gain")}},
}  # fmt: skip
# A run in a process of its own: wandb keeps state for as long as its process lives.
SESSION = """
    import json, sys, time
    from pathlib import Path
    from bvrank.records import StepReport
    from bvrank.tracking.wandb import Wandb

    asked, config, folder, summary, first = json.loads(sys.argv[1])
    def took(what, began):
        print(what, round(time.monotonic() - began, 1), flush=True)

    tracker = Wandb(**asked).tracker(first - 1)
    began = time.monotonic()
    tracker.start(config, Path(folder))
    took("start", began)
    for step in (first, first + 1):
        tracker.log(StepReport(step, {"loss": 1 / step, "full/rewards/margins": float("nan")}))
    took("logged", began)
    sys.stdin.readline()
    began = time.monotonic()
    tracker.finish(summary)
    took("finish", began)
"""


def folder_of(tmp_path: Path, **more: Any) -> Path:
    """A run folder on disk."""
    with open_run(tmp_path, "dpo-pairs-s3", CONFIG | more, command=["bvrank"]) as run:
        return run.path


def begun(folder: Path, first: int = 1, env: dict[str, str] | None = None,
          summary: Any = SUMMARY, **asked: Any) -> subprocess.Popen[str]:  # fmt: skip
    """A session that waits for a line on stdin before it finishes."""
    told = json.dumps([asked, CONFIG, str(folder), summary, first])
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(SESSION), told],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **(env or {})},
        cwd=home, text=True,
        start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def session(*arguments: Any, **keywords: Any) -> tuple[dict[str, float], str, float]:
    """Runs one to its end: seconds of start and finish, stderr, seconds of the process."""
    began = time.monotonic()
    process = begun(*arguments, **keywords)
    out, err = process.communicate("\n", timeout=100)
    assert process.returncode == 0, err
    took = dict(line.split() for line in out.splitlines())
    return {k: float(v) for k, v in took.items()}, err, time.monotonic() - began


def test_what_was_logged_stands_in_wandbs_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    _, err, _ = session(folder, project="mine", entity="us", tags=["a", "b"], group=None)
    assert err == f"wandb: offline; to upload: wandb sync {folder}/wandb/offline-run-*\n"
    (file,) = wandb_file.files(folder)
    rows = wandb_file.history(file)
    assert [(r["_step"], r["loss"]) for r in rows] == [(1, 1.0), (2, 0.5)]
    assert all(math.isnan(r["full/rewards/margins"]) for r in rows)
    run = wandb_file.run_of(file)
    assert (run.project, run.entity, run.display_name) == ("mine", "us", "dpo-pairs-s3")
    assert (list(run.tags), run.run_group) == (["a", "b"], group_name(CONFIG))
    config = wandb_file.config_of(file)
    assert {k: config[k] for k in CONFIG} == CONFIG
    assert not run.git.commit
    assert not any("environment" in r.WhichOneof("record_type") for r in wandb_file.records(file))


def test_the_summarys_figures_and_tables_stand_there_too(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    session(folder)
    (file,) = wandb_file.files(folder)
    summary = wandb_file.summary_of(file)
    assert summary["accuracy/thinking/after/greedy"] == 0.5
    assert (summary["best/value"], summary["best/step"]) == (0.2, 1)
    stored = {p.name.split("_")[0]: json.loads(p.read_text())
              for p in file.parent.rglob("*.table.json")}  # fmt: skip
    assert stored["rows"]["data"] == [["kept", 7], ["refused: empty", 2]]
    assert stored["accuracy"]["data"] == [["thinking", "greedy", 0.5, 0.5, 0.5, 0.1, 0.3, 0.7, 8]]


def test_everything_of_wandbs_lies_in_the_run_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    before = {*folder.iterdir()}
    session(folder)
    assert {*folder.iterdir()} - before == {folder / "wandb"}
    assert not any((tmp_path / "home").iterdir())


def test_a_resumed_run_is_the_same_run_and_a_new_one_another(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    session(folder, summary={})
    session(folder, first=2)
    one, two = wandb_file.files(folder)
    assert wandb_file.run_of(one).run_id == wandb_file.run_of(two).run_id
    assert [r["_step"] for r in wandb_file.history(two)] == [2, 3]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"started": "later"}))
    session(folder)
    ids = {wandb_file.run_of(file).run_id for file in wandb_file.files(folder)}
    assert len(ids) == 2


def test_disabled_writes_nothing_and_imports_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    took, err, _ = session(folder, mode="disabled")
    assert took["start"] < 0.3
    assert err == ""
    assert not (folder / "wandb").exists()


@pytest.mark.parametrize("variable", ["online", "disabled"])
def test_the_key_decides_and_a_variable_that_differs_is_named(
    tmp_path: Path, variable: str
) -> None:
    folder = folder_of(tmp_path)
    _, err, _ = session(folder, env={"WANDB_MODE": variable})
    assert f"WANDB_MODE={variable} does not count: tracker.wandb.mode=offline does" in err
    assert wandb_file.files(folder)


def test_online_without_a_login_is_one_line_and_offline(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    took, err, _ = session(folder, mode="online", api_key_env="MY_KEY")
    first, last = err.splitlines()
    assert first == "wandb: $MY_KEY is not set and nobody is logged in; going on offline"
    assert last.startswith("wandb: offline; to upload")
    assert took["start"] < 20
    assert len(wandb_file.history(wandb_file.files(folder)[0])) == 2


@pytest.mark.parametrize("dead", ["refuses", "never answers"])
def test_a_dead_network_costs_seconds_and_no_figure(tmp_path: Path, dead: str) -> None:
    folder = folder_of(tmp_path)
    with serving() as server:
        server.silent.set()
        url = server.url if dead == "never answers" else "http://127.0.0.1:9"
        env = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
        took, err, whole = session(folder, env=env, mode="online", timeout=1.0)
    assert took["start"] < 20
    assert whole < 40
    assert "going on offline" in err
    offline = [f for f in wandb_file.files(folder) if "offline" in str(f)]
    assert [r["loss"] for r in wandb_file.history(offline[0])] == [1.0, 0.5]
    assert KEY not in err


def test_a_network_that_dies_in_the_run_costs_seconds_and_no_figure(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with serving() as server:
        env = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        process = begun(folder, env=env, mode="online", timeout=2.0)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("start")
        server.silent.set()
        began = time.monotonic()
        _, err = process.communicate("\n", timeout=60)
        assert time.monotonic() - began < 30
        assert process.returncode == 0
        assert f"wandb: {server.url}/e/p/runs/" in err
        sent = b" ".join(server.seen)
    (file,) = wandb_file.files(folder)
    assert [r["loss"] for r in wandb_file.history(file)] == [1.0, 0.5]
    assert b"dpo-pairs-s3" in sent
    assert KEY not in err


def test_an_interrupt_of_the_whole_group_stays_ours(tmp_path: Path) -> None:
    """wandb's own process lives on and ends the run; ours ends as Python does."""
    folder = folder_of(tmp_path)
    process = begun(folder)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("start")
    assert process.stdout.readline().startswith("logged")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT
    assert len(wandb_file.history(wandb_file.files(folder)[0])) == 2


def test_it_is_a_tracker() -> None:
    tracker: Tracker = Wandb().tracker(0)
    tracker.finish({})  # before a start that failed


@pytest.mark.parametrize(
    ("asked", "where"),
    [({"timeout": 0.0}, "timeout"), ({"timeout": math.inf}, "timeout"), ({"project": " "},
     "project"), ({"api_key_env": "not a name"}, "api_key_env")],
)  # fmt: skip
def test_bad_settings(asked: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Wandb(**asked)
    assert caught.value.where == where
