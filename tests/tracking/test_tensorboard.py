from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.tracking.tensorboard import TensorBoard

CONFIG = {"seed": 0, "objective": {"beta": 0.1, "view": "über"}}


def session(folder: Path, steps: range, done: int = 0, summary: Any = None) -> Tracker:
    tracker = TensorBoard().tracker(done)
    tracker.start(CONFIG, folder)
    for step in steps:
        tracker.log(StepReport(step, {"loss": step + done / 1000, "full/rewards/margins": 0.5}))
    if summary is not None:
        tracker.finish(summary)
    return tracker


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(e.step, round(e.value, 3)) for e in events(folder).Scalars("loss")]


def text(folder: Path, name: str) -> str:
    (event,) = events(folder).Tensors(f"{name}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


def test_figures_keep_their_names_and_steps(tmp_path: Path) -> None:
    session(tmp_path, range(1, 4), summary={})
    assert losses(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert [e.value for e in events(tmp_path).Scalars("full/rewards/margins")] == [0.5] * 3
    assert {p.parent.name for p in tmp_path.rglob("*") if p.is_file()} == {"tensorboard"}


def test_each_step_is_on_disk_at_once(tmp_path: Path) -> None:
    tracker = session(tmp_path, range(1, 3))
    assert losses(tmp_path) == [(1, 1.0), (2, 2.0)]
    tracker.finish({})


def test_a_resumed_run_purges_the_steps_behind_its_checkpoint(tmp_path: Path) -> None:
    session(tmp_path, range(1, 6))  # killed: never finished
    session(tmp_path, range(4, 7), done=3, summary={})
    assert losses(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.003), (5, 5.003), (6, 6.003)]


def test_a_run_that_starts_again_without_a_checkpoint_purges_everything(tmp_path: Path) -> None:
    session(tmp_path, range(1, 4))
    session(tmp_path, range(1, 2), summary={})
    assert losses(tmp_path) == [(1, 1.0)]


def test_what_is_not_finite_is_logged(tmp_path: Path) -> None:
    tracker = TensorBoard().tracker(0)
    tracker.start(CONFIG, tmp_path)
    tracker.log(StepReport(1, {"loss": math.nan, "grad_norm": math.inf}))
    tracker.finish({})
    assert math.isnan(events(tmp_path).Scalars("loss")[0].value)
    assert events(tmp_path).Scalars("grad_norm")[0].value == math.inf


def test_config_and_tables_are_texts_and_the_summarys_figures_scalars(tmp_path: Path) -> None:
    figure = {"value": 0.5, "n": 8, "stderr": 0.1, "interval": [0.3, 0.7]}
    moments = {m: {"greedy": figure} for m in ("before", "after", "gain")}
    session(tmp_path, range(1, 3), summary={
        "rows": {"kept": 7, "refused": {}}, "accuracy": {"thinking": moments},
    })  # fmt: skip
    shown = text(tmp_path, "config")
    assert yaml.safe_load(shown.strip("`").removeprefix("yaml")) == CONFIG
    assert "| kept | 7 |" in text(tmp_path, "rows")
    assert "| thinking | greedy | 0.5000 |" in text(tmp_path, "accuracy")
    (event,) = events(tmp_path).Scalars("accuracy/thinking/gain/greedy")
    assert (event.step, event.value) == (2, 0.5)


@pytest.mark.parametrize("summary", [{}, {"rows": {}}])
def test_a_run_cut_short_shows_no_table(tmp_path: Path, summary: Any) -> None:
    session(tmp_path, range(1, 2), summary=summary)
    assert events(tmp_path).Tags()["tensors"] == ["config/text_summary"]


def test_a_start_that_failed_can_be_finished(tmp_path: Path) -> None:
    TensorBoard().tracker(0).finish({})
