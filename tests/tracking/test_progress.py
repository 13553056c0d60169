import contextlib
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.tracking.progress import Phase, Progress, Screen, duration, fitted, headline, phase

STEP = {
    "full/rewards/accuracies": 0.75,
    "loss": 0.6931,
    "full/rewards/margins": -0.25,
    "bare/rewards/margins": 9.0,
    "speed/tokens_per_second": 12345.6,
    "eval/loss": 9.0,
    "lr": 3e-5,
}

SHOW_CURSOR = "\x1b[?25h"


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


def plain(width=200):
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def told(console):
    return console.file.getvalue().splitlines()


def walk(total, seconds=1.0, **keywords):
    console, clock = plain(), Clock()
    with phase("teaching", total, console=console, clock=clock, **keywords) as state:
        for _ in range(total - state.done):
            clock.now += seconds
            state.advance(1, loss=1 / (1 + state.done))
    return told(console)


def test_plain_lines_first_every_tenth_and_last():
    lines = walk(100)
    assert len(lines) == 11
    assert lines[0] == "teaching: 1/100 (1%)  loss 1.000  elapsed 0:01  left 1:39"
    assert lines[1] == "teaching: 10/100 (10%)  loss 0.100  elapsed 0:10  left 1:30"
    assert lines[-1] == "teaching: 100/100 (100%)  loss 0.010  took 1:40"


def test_a_slow_phase_speaks_every_minute():
    lines = walk(100, seconds=30.0)
    assert [line.split()[1] for line in lines[:4]] == ["1/100", "3/100", "5/100", "7/100"]


@given(st.integers(1, 400), st.integers(0, 400))
def test_a_fast_phase_never_floods_and_always_ends_with_the_end(total, done):
    lines = walk(total, seconds=0.01, done=min(done, total))
    assert len(lines) <= 12
    if done < total:
        assert lines[-1].startswith(f"teaching: {total}/{total} (100%)")


def test_a_resumed_run_reckons_with_its_own_steps():
    lines = walk(100, done=50)
    assert lines[0].endswith("elapsed 0:01  left 0:49")


def test_steps_of_many():
    console, clock = plain(), Clock()
    with phase("sampling", 512, console=console, clock=clock) as state:
        for _ in range(4):
            clock.now += 8
            state.advance(128)
    assert [line.split()[1] for line in told(console)] == [
        "128/512",
        "256/512",
        "384/512",
        "512/512",
    ]


def test_an_exception_passes_and_the_last_state_is_told():
    console = plain()
    with pytest.raises(ValueError), phase("x", 100, console=console) as state:
        for _ in range(5):
            state.advance()
        raise ValueError
    assert told(console)[-1].startswith("x: 5/100 (5%)")


def test_nothing_done_says_nothing():
    console = plain()
    with phase("x", 0, console=console), phase("y", 9, console=console):
        pass
    assert told(console) == []


def test_no_work_says_nothing_on_any_terminal():
    for console in (plain(), Console(file=io.StringIO(), width=80, force_terminal=True)):
        with phase("scoring", 0, console=console) as state:
            state.advance(0)
        assert console.file.getvalue() == ""


def test_markup_in_a_title_is_text():
    console = plain()
    with phase("[red]x[/red]", 1, console=console) as state:
        state.advance(figure="[b]")
    assert told(console)[0].startswith("[red]x[/red]: 1/1 (100%)  figure [b]")


def live(width, environment=None, total=3, file=None):
    console = Screen(
        file=file or io.StringIO(), width=width, force_terminal=True,
        _environ=environment or {"TERM": "xterm"},
    )  # fmt: skip
    with phase("teaching the model", total, console=console) as state:
        for _ in range(total):
            state.advance(1, loss=0.5, accuracy=0.25)
    return console.file.getvalue() if file is None else ""


def test_live_line_ends_with_the_whole_state():
    text = live(120)
    assert "3/3" in text
    assert "\u2501" * 20 in text
    assert "loss 0.500  accuracy 0.250" in text


@pytest.mark.parametrize("width", [1, 5, 20, 40, 80, 200])
@pytest.mark.parametrize("term", ["dumb", "xterm", "unknown", ""])
def test_odd_terminals(width, term):
    assert live(width, {"TERM": term})
    assert live(width, {"TERM": term, "NO_COLOR": "1"})


def test_what_is_printed_to_a_file_meanwhile_stays_on_stdout(capsys):
    console = Screen(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    with phase("x", 2, console=console) as state:
        state.advance()
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in console.file.getvalue()


def test_phases_within_phases():
    console = Screen(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    with phase("outer", 2, console=console) as outer:
        outer.advance()
        with phase("inner", 3, console=console) as inner:
            inner.advance(3)
        outer.advance()
    text = console.file.getvalue()
    assert "inner" in text
    assert "2/2" in text


def test_dumb_terminals_get_plain_lines():
    assert "\x1b" not in live(80, {"TERM": "dumb"})


def test_no_color_has_no_colour():
    assert "\x1b[36m" in live(80)
    assert "\x1b[36m" not in live(80, {"TERM": "xterm", "NO_COLOR": "1"})


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_encodings_without_the_bar(encoding):
    live(100, file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_closed_stream_stops_nothing(term):
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    live(80, {"TERM": term}, file=file)
    with contextlib.suppress(BrokenPipeError):
        file.close()


@given(st.integers(1, 150), st.integers(0, 10), st.booleans())
def test_fitted_fits_and_keeps_the_count(width, done, ascii_only):
    state = Phase("a long title", 10, clock=Clock())
    state.advance(done, loss=0.5, accuracy=0.1)
    text = fitted(state, width, ascii_only=ascii_only).plain
    assert len(text) <= width
    if width >= 20:
        assert f"{done}/10" in text
    if ascii_only:
        assert text.isascii()


def test_time_left_counts_down_between_steps_and_is_never_negative():
    clock = Clock()
    state = Phase("x", 4, clock=clock)
    assert state.left is None
    clock.now = 10.0
    state.advance()
    assert state.left == 30.0
    clock.now = 15.0
    assert state.left == 25.0
    clock.now = 100.0
    assert state.left == 0.0


def test_headline_takes_the_first_view_and_no_evaluation():
    assert headline(STEP) == {
        "loss": 0.6931,
        "accuracy": 0.75,
        "margin": -0.25,
        "tokens/s": 12345.6,
    }
    assert headline({}) == {}
    assert headline({"rewards/margins": 1.0}) == {"margin": 1.0}


def test_the_tracker_shows_training(tmp_path):
    console = plain()
    tracker: Tracker = Progress(console=console, done=1)
    tracker.start({"steps": 3}, tmp_path)
    tracker.log(StepReport(2, STEP))
    tracker.log(StepReport(2, {"eval/loss": 0.1}))
    tracker.log(StepReport(3, STEP))
    tracker.finish({})
    tracker.finish({})
    lines = told(console)
    figures = "loss 0.693  accuracy 0.750  margin -0.250  tokens/s 12.3k"
    assert lines[0].startswith(f"training: 2/3 (66%)  {figures}  elapsed 0:00")
    assert lines[-1].startswith("training: 3/3 (100%)")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0, "0:00"), (7.4, "0:07"), (750, "12:30"), (11100, "3:05:00"),
     (187800, "2d 04:10")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_last_step_ends_the_line_and_gives_the_cursor_back(tmp_path):
    text = io.StringIO()
    tracker = Progress(console=Console(file=text, force_terminal=True, width=80))
    tracker.start({"steps": 2}, tmp_path)
    tracker.log(StepReport(1, {}))
    assert SHOW_CURSOR not in text.getvalue()
    tracker.log(StepReport(2, {}))
    assert SHOW_CURSOR in text.getvalue()
    tracker.finish({})
