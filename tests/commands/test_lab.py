"""`bvrank lab`, run to its end on a very small world; every key does something."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from html import escape
from pathlib import Path

import numpy as np
import pytest
import yaml

from bvrank.cli import main
from bvrank.commands import lab
from bvrank.commands.build import construct
from bvrank.commands.compose import composed, frozen
from bvrank.lab import options, scoring, shape, side
from bvrank.lab import study as lab_study
from bvrank.lab.check import Check
from bvrank.lab.options import Settings
from bvrank.lab.result import ARRAYS, FIGURES, PAGE, Result
from bvrank.lab.runs import runs
from bvrank.lab.study import studied
from bvrank.run.identity import flatten
from tests.commands.line import ROOT

STUDY = (
    "shape.prompts=1",
    "shape.layers=1",
    "shape.hidden_size=4",
    "shape.heads=1",
    "worlds=1",
    "distances=[0,0.1]",
    "direction=random",
    "sampling.sizes=[1,2]",
    "sampling.draws=64",
)
TRAINING = ("train.seeds=2", "train.steps=2", "train.every=1", "train.traces=2")
OTHER = {  # key -> another value
    "seed": "5",
    "shape.alphabet": "5",
    "shape.length": "7",
    "shape.prompts": "2",
    "shape.hidden_size": "8",
    "shape.layers": "2",
    "shape.heads": "2",
    "shape.spread": "1.0",
    "beta": "0.5",
    "bare_from": "reuse",
    "worlds": "2",
    "distances": "[0,0.2]",
    "direction": "descent",
    "batch": "2",
    "sampling.sizes": "[1,4]",
    "sampling.draws": "128",
}
OTHER_TRAINING = {"train.seeds": "3", "train.steps": "3", "train.every": "2", "train.rate": "0.1",
                  "train.adamw": "0.01", "train.rules": "[adamw]", "train.traces": "3"}  # fmt: skip
BESIDE = {"shape.heads": ("shape.hidden_size=4",), 
          "shape.length": ("shape.alphabet=2", "shape.length=6"),
          "bare_from": ("seed=3",)}  # fmt: skip
ELSEWHERE = {"force", "name", "outputs", "threads"}  # tests of their own below


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def settings(*words: str) -> Settings:
    config = frozen(composed("lab", [*STUDY, "train.seeds=0", *words]))
    asked = {k: v for k, v in config.items() if k not in ("force", "name", "outputs")}
    made: Settings = construct(Settings, asked, "")
    return made


@lru_cache
def study(*words: str) -> str:
    """Every figure and array."""
    return repr([(c.figures, list(c.arrays.values())) for c in studied(settings(*words), idle)])


@lru_cache
def training(*words: str) -> str:
    """Every figure and array."""
    made = runs(settings(*TRAINING, *words), idle)
    return repr([made.figures, list(made.arrays.values())])


def idle() -> None:
    """Nobody looks."""


def test_every_figure_of_a_small_lab(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["lab", *STUDY, *TRAINING]
    assert main(words) == 0
    first = capfd.readouterr()
    assert "alpha* = argmin over a grid" in first.out and "VIOLATED" not in first.out
    (folder,) = (here / "outputs" / "lab").iterdir()
    assert folder.name.startswith("lab-4x3-s0-")
    told = json.loads((folder / FIGURES).read_text())
    assert [c["distance"] for c in told["cells"]] == [0, 0.1]
    assert {c["theorem"] for c in told["checks"]} == {"", "1", "2", "3", "4"}
    assert set(told["training"]["rules"]) == {"sgd", "adamw"}
    arrays = np.load(folder / ARRAYS)
    assert arrays["0/0.1/mse"].shape == arrays["0/0.1/alpha"].shape
    assert arrays["training/sgd/alpha*/loss"].shape == (3, 2)
    assert (folder / PAGE).read_text().startswith("<!DOCTYPE html>")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    before = (folder / FIGURES).read_bytes()
    assert main(words) == 0
    again = capfd.readouterr()
    assert "finished before, nothing ran" in again.err and again.out == first.out
    assert main([*words, "force=true"]) == 0
    assert (folder / FIGURES).read_bytes() == before, "the same settings give the same figures"
    assert len(list((here / "outputs" / "lab").iterdir())) == 2  # the older one stands aside


def test_a_violation_is_exit_code_1(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bvrank.lab import checks

    monkeypatch.setattr(checks, "argmin", lambda *_: 2.0)
    assert main(["lab", *STUDY, "train.seeds=0", "name=mine", "outputs=there"]) == 1
    assert "Violated" in (here / "there" / "mine" / PAGE).read_text()


def test_a_stopped_lab_is_measured_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lab._result

    def broken(_: Settings) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "_result", broken)
    words = ["lab", *STUDY, "train.seeds=0", "name=mine"]
    assert main(words) == 130
    assert not (here / "outputs" / "lab" / "mine" / FIGURES).exists()
    monkeypatch.setattr(lab, "_result", whole)
    assert main(words) == 0


QUICK = ("lab", *STUDY, "train.seeds=0", "name=mine")


def test_a_finished_folder_of_other_settings_is_refused(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(QUICK) == 0
    capfd.readouterr()
    assert main([*QUICK, "beta=0.5"]) == 2
    shown = capfd.readouterr()
    assert "this folder holds another run (there -> asked for: beta 1 -> 0.5)" in shown.err
    assert shown.out == ""
    assert main([*QUICK, "threads=1"]) == 0
    assert "finished before, nothing ran" in capfd.readouterr().err


@pytest.mark.parametrize("name", [FIGURES, ARRAYS])
def test_what_was_finished_and_is_damaged_is_measured_again(
    here: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(QUICK) == 0
    file = here / "outputs" / "lab" / "mine" / name
    before = file.read_bytes()
    file.write_bytes(b"{")
    capfd.readouterr()
    assert main(QUICK) == 0
    assert "measured again" in capfd.readouterr().err
    assert file.read_bytes() == before


def test_a_page_that_is_gone_is_drawn_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(QUICK) == 0
    page = here / "outputs" / "lab" / "mine" / PAGE
    before = page.read_bytes()
    page.unlink()
    monkeypatch.setattr(lab, "_result", None)
    assert main(QUICK) == 0
    assert page.read_bytes() == before


def test_the_name_follows_the_figures_and_not_the_cores() -> None:
    def name(*words: str) -> str:
        return lab.request(frozen(composed("lab", words))).name

    assert name() == name("threads=7") == name("outputs=there", "force=true")
    assert name("beta=2.0") != name() != name("seed=1")
    assert name("name=mine") == "mine"


def test_distances_that_print_alike_keep_their_arrays(here: Path) -> None:
    assert main([*QUICK, "distances=[0,0.1,0.1000000001]"]) == 0
    arrays = np.load(here / "outputs" / "lab" / "mine" / ARRAYS)
    places = {name.split("/")[1] for name in arrays.files}
    assert places == {"0", "0.1", "0.1000000001"}


@pytest.mark.parametrize(
    ("word", "told"),
    [("name=../x", "name: must be one folder's name, got '../x'"),
     ("name=5", "name: must be text or null, got 5"),
     ("name=.x", "name: cannot name a run folder, got '.x'"),
     ("force=banana", "force: must be true or false, got 'banana'"),
     ("outputs=5", "outputs: must be text, got 5"),
     ("shape.alphabet=3", "3^3 = 27 traces; there must be 64 to 1,024"),
     ("shape.hidden_size=9", "must be a multiple of 2 * heads = 4"),
     ("distances=[0.1]", "must have 0 among them"), ("distances=[0,-1]", "numbers from 0"),
     ("beta=0", "must be at least 0.0001 and at most 10000"), ("worlds=0", "must be at least 1"),
     ("threads=0", "must be at least 1"), ("bare_from=new", "bare_from"),
     ("sampling.sizes=[]", "sampling.sizes"), ("sampling.draws=3", "at least 64"),
     ("train.seeds=1", "an interval wants two"), ("train.every=7", "must divide steps=15"),
     ("train.rules=[adam]", "train.rules"), ("train.traces=1", "one trace is the arm g_t"),
     ("train.rate=0", "train.rate"), ("train.rate=1e7", "at most 1e+06"),
     ("shape.spread=1000", "shape.spread: must lie in [0.001, 30]"), ("beta=1e-200", "beta"),
     ("beta=1e200", "beta"), ("distances=[0,1e300]", "numbers from 0 to 100"),
     ("sampling.sizes=[1,20000]", "sampling.sizes: must be at most 1,024 each"),
     ("seed=99999999999999999999", "seed: must be at least 0 and at most"),
     ("shape.length=1000000000", "shape.length: must be at most 10"),
     ("shape.hidden_size=200000", "shape: needs about"), ("outputs=''", "must name a folder"),
     ("shape.width=3", "shape.width")],
)  # fmt: skip
def test_a_mistake_is_one_line(word: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", word]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert told in error


def test_ctrl_c_is_heard_between_two_chunks_of_a_policy(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real, pressed = side.pause, list[None]()

    def pause() -> None:
        if threading.current_thread() is not threading.main_thread() and not pressed:
            pressed.append(None)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5000):
                real()
                time.sleep(0.001)
        real()

    def never(*_: object) -> None:
        raise AssertionError("the policy went on")

    monkeypatch.setattr(scoring, "pause", pause)
    monkeypatch.setattr(lab_study, "_cell", never)
    assert main(list(QUICK)) == 130
    assert pressed
    assert "stopped by SIGINT. The same command measures again." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [(("train.seeds=0",), "not checked: nothing was trained (train.seeds=0)"),
     ((*TRAINING, "train.rules=[adamw]"), "not checked: SGD was not run (train.rules)"),
     ((*TRAINING, "train.rate=100"), "not checked: no world with eta L <= 1")],
)  # fmt: skip
def test_theorem_3_says_where_it_was_not_checked(
    words: tuple[str, ...], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", *STUDY, *words, "name=mine"]) == 0
    shown = capfd.readouterr().out
    assert told in shown
    folder = Path("outputs/lab/mine")
    assert escape(told) in (folder / PAGE).read_text()
    assert "violation/3" not in json.loads((folder / "summary.json").read_text())["final"]


def test_the_screen_has_the_bound_with_l_and_the_suprema(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["lab", *STUDY, *TRAINING, "train.rate=0.01"]) == 0
    shown = capfd.readouterr().out
    assert "Theorem 3: the bound beside the measured path" in shown
    assert "L: 1.5 times the largest curvature" in shown
    assert "B^2" in shown and "sigma^2" in shown


def test_a_run_in_which_all_diverges_ends_with_its_page(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "RATES", (0.0, 1e308))
    words = (*STUDY, *TRAINING, "train.rate=1e200", "train.adamw=1e200", "name=mine")
    assert main(["lab", *words]) == 0
    shown = capfd.readouterr().out
    assert "Diverged, its loss no number any more: " in shown
    page = (here / "outputs" / "lab" / "mine" / PAGE).read_text()
    assert "Diverged" in page and "Error against alpha" in page


def test_every_key_stands_in_a_table() -> None:
    config = yaml.safe_load((ROOT / "conf" / "lab.yaml").read_text())
    keys = flatten({k: v for k, v in config.items() if k not in ("defaults", "hydra")})
    assert set(keys) == {*OTHER, *OTHER_TRAINING, *ELSEWHERE}


@pytest.mark.parametrize("key", OTHER)
def test_every_key_of_the_study_changes_a_figure(key: str) -> None:
    around = BESIDE.get(key, ())
    assert study(*around) != study(*around, f"{key}={OTHER[key]}")


@pytest.mark.parametrize("key", OTHER_TRAINING)
def test_every_key_of_training_changes_a_figure(key: str) -> None:
    assert training() != training(f"{key}={OTHER_TRAINING[key]}")


def test_threads_change_who_works_and_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Pool(side.ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            seen.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(side, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(shape, "STRETCH", 1)
    one, two = [lab._result(settings(*TRAINING, "worlds=2", f"threads={n}")) for n in (1, 2)]
    assert seen == [1, 1, 2, 2]
    assert one.arrays.keys() == two.arrays.keys()
    assert all(np.array_equal(one.arrays[k], two.arrays[k], equal_nan=True) for k in one.arrays)
    assert repr(replace(one, arrays={})) == repr(replace(two, arrays={}))


def test_a_violation_that_is_no_number_stays_one() -> None:
    for worst in ((math.nan, 0.1), (0.1, math.nan)):
        checks = [Check("1", "a", value, 1.0) for value in worst]
        cell = {"given": {"data": {"alpha": 0.5}}}
        assert math.isnan(lab._final(Result({}, [cell], checks, None, {}))["violation/1"])
