"""When it is evaluated, logged, saved and stopped."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.commands.guard import STOPS
from bvrank.commands.hooks import Recorder, Saver, Stopping
from bvrank.commands.sections import Checkpoint
from bvrank.ranks import ALONE
from bvrank.records import StepReport


class Engine:
    """Writes a file where an engine writes weights."""

    ranks = ALONE

    def save(self, folder: Path) -> list[Path]:
        (folder / "policy").write_text("weights")
        return [folder / "policy"]


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[StepReport] = []

    def log(self, report: StepReport) -> None:
        self.lines.append(report)


def recorder(steps: int, log: int, every: int, held: bool = True) -> tuple[Recorder, Log]:
    tracker: Any = Log()
    evaluate = (lambda step, fields: {"eval/loss": 1.0 / step}) if held else None
    return Recorder(tracker, steps, log, every, evaluate), tracker


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 9), st.booleans())
def test_the_first_the_last_and_what_is_due_is_logged(
    steps: int, log: int, every: int, held: bool
) -> None:
    record, tracker = recorder(steps, log, every, held)
    for step in range(1, steps + 1):
        record(TrainState(step), StepReport(step, {"loss": 2.0}))
    evaluated = [s for s in range(1, steps + 1) if (every and s % every == 0) or s == steps]
    due = {1, steps, *range(log, steps + 1, log), *(evaluated if held else [])}
    assert [r.step for r in tracker.lines] == sorted(due)
    measured = [r.step for r in tracker.lines if "eval/loss" in r.values]
    assert measured == (evaluated if held else [])
    assert record.latest == dict(tracker.lines[-1].values)


def run(folder: Path, settings: Checkpoint, values: list[float], name: str = "loss") -> TrainState:
    """Steps whose metric takes `values`; returns the state at the end."""
    record, _ = recorder(len(values), 1, 0, held=False)
    saver, state = Saver(folder, Engine(), settings, len(values), record), TrainState()
    for step, value in enumerate(values, start=1):
        state.step = step
        report = StepReport(step, {name: value})
        record(state, report)
        saver(state, report)
    return state


def kept(folder: Path) -> list[int]:
    return [int(p.name.removeprefix("step-")) for p in sorted(folder.glob("step-*"))]


@pytest.mark.parametrize(("every", "keep", "left"), [(0, 2, [9]), (2, 2, [8, 9]), (3, 1, [9])])
def test_the_newest_stay(every: int, keep: int, left: list[int], tmp_path: Path) -> None:
    run(tmp_path, Checkpoint(every, keep, None), [1.0] * 9)
    assert kept(tmp_path) == left
    assert all(checkpoint.damage(p) is None for p in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "best"), [("loss", 2), ("eval/loss", 2), ("rewards/accuracies", 3), ("grad_norm", 2)]
)
def test_the_best_stays_too(name: str, best: int, tmp_path: Path) -> None:
    state = run(tmp_path, Checkpoint(0, 1, name), [3.0, 1.0, 5.0, 4.0, 1.0], name)
    assert kept(tmp_path) == [best, 5] and state.best_step == best


def test_what_is_saved_is_not_written_again(tmp_path: Path) -> None:
    record, _ = recorder(5, 1, 0)
    saver = Saver(tmp_path, Engine(), Checkpoint(0, 2, None), 5, record)
    saver.save(TrainState(3))
    before = (tmp_path / "step-000003" / "state.json").stat().st_mtime_ns
    saver.save(TrainState(3))
    assert (tmp_path / "step-000003" / "state.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("number", STOPS)
def test_the_first_signal_is_a_wish_the_second_an_end(number: signal.Signals) -> None:
    usual = signal.getsignal(number)
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt), stopping.listening():
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is usual


def test_under_nohup_a_terminal_may_go_away() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping = Stopping()
        with stopping.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopping()
    finally:
        signal.signal(signal.SIGHUP, usual)


def test_outside_the_main_thread_nothing_changes() -> None:
    seen: list[bool] = []

    def listen() -> None:
        stopping = Stopping()
        with stopping.listening():
            seen.append(stopping())

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [False]
