from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bvrank.commands.app import read_arguments
from bvrank.errors import ConfigError
from tests.commands.line import Call, process

Line = Callable[..., Call]

MINE = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    margin: float = 1.0
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain folder beside the user, with an objective of the user's own."""
    conf = tmp_path / "mylab" / "conf" / "objective"
    conf.mkdir(parents=True)
    (tmp_path / "mylab" / "mine.py").write_text(MINE)
    (conf / "mine.yaml").write_text("# Mine.\n_target_: mylab.mine.Mine\nmargin: 1.0  # nats\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_the_command_gets_the_composed_config(bvrank: Line) -> None:
    done = bvrank("train", "objective=dpo", "seed=7", "schedule.beta=[1,2]")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert done.config is not None
    assert done.config["seed"] == 7
    assert done.config["schedule"] == {"beta": [1, 2]}
    assert done.config["objective"]["_target_"] == "bvrank.objectives.dpo.DPO"


def test_composing_writes_nothing_and_leaves_the_process_as_it_was(
    bvrank: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    argv, environment = list(sys.argv), dict(os.environ)
    bvrank("train")
    bvrank("train", "seed=(")
    assert (sys.argv, dict(os.environ)) == (argv, environment)
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_shows_the_config_and_runs_nothing(bvrank: Line) -> None:
    done = bvrank("train", "--cfg", "job", "seed=7")
    assert done.code == 0
    assert "seed: 7\n" in done.out
    assert "hydra:" not in done.out
    assert done.config is None


def test_cfg_of_a_package_resolved(bvrank: Line) -> None:
    done = bvrank("train", "--cfg", "job", "--package", "scheduler", "--resolve")
    assert done.out == "# @package scheduler\nshape: cosine\nwarmup: 0.1\n"


@pytest.mark.parametrize("what", ["searchpath", "defaults", "defaults-tree", "config", "plugins"])
def test_info(bvrank: Line, what: str) -> None:
    done = bvrank("train", "--info", what)
    assert done.code == 0
    assert done.out
    assert done.config is None


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--cfg", "job", "-m"], "--cfg shows one config and -m makes many"),
        (["-m", "--cfg", "job"], "--cfg shows one config and -m makes many"),
        (["--resolve"], "--resolve belongs to --cfg"),
        (["--resume"], "there is no option --resume. Settings are written without dashes: resume="),
        (["--seed=3"], "there is no option --seed=3. Settings are written without dashes: seed=3"),
        (["--cfg", "jib"], "argument --cfg/-c: invalid choice: 'jib'"),
        (["--package"], "argument --package/-p: expected one argument"),
    ],
)
def test_wrong_flags_are_one_line(bvrank: Line, args: list[str], line: str) -> None:
    done = bvrank("train", *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {line}")
    assert done.err.count("\n") == 1


def test_flags_stand_anywhere(bvrank: Line) -> None:
    orders = [["--cfg", "job", "seed=3", "steps=4"], ["seed=3", "--cfg", "job", "steps=4"]]
    shown = [bvrank("train", *order) for order in orders]
    assert shown[0].out == shown[1].out
    assert "seed: 3\n" in shown[0].out
    assert "steps: 4\n" in shown[0].out


def test_overrides_are_opened() -> None:
    flags, overrides = read_arguments(["-m", "schedule.alpha=[1,0]", "seed=1,2"])
    assert flags.multirun
    assert overrides == ["++schedule.alpha=[1,0]", "seed=1,2"]
    with pytest.raises(ConfigError):
        read_arguments(["--nope"])


def test_an_objective_of_ones_own_in_a_plain_folder(bvrank: Line, lab: Path) -> None:
    done = bvrank("train", "hydra.searchpath=[pkg://mylab.conf]", "objective=mine")
    assert (done.code, done.err) == (0, "")
    assert done.config is not None
    assert done.config["objective"] == {"_target_": "mylab.mine.Mine", "margin": 1.0}
    assert done.config["trusted"] == ["mylab"]


def test_it_is_there_for_the_installed_command_too(lab: Path) -> None:
    args = ["hydra.searchpath=[pkg://mylab.conf]", "objective=mine", "--help"]
    done = process("train", *args, cwd=lab)
    assert done.code == 0, done.err
    assert "*mine" in done.out
    assert "objective.margin=1.0" in done.out
    assert "nats" in done.out


def test_a_file_of_the_users_does_not_take_the_place_of_a_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "omegaconf.py").write_text("raise SystemExit('shadowed')")
    done = process("train", "--cfg", "job", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")


def test_a_config_folder_of_ones_own(bvrank: Line, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nsteps: 5\ndefaults: [{override /objective: sft}]\n"
    (tmp_path / "experiment" / "short.yaml").write_text(text)
    done = bvrank("train", "--config-dir", str(tmp_path), "experiment=short")
    assert done.err == ""
    assert done.config is not None
    assert done.config["steps"] == 5
    assert done.config["objective"]["_target_"].endswith("SFT")
