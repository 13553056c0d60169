"""The live line of a run: how far, how well, how fast, and how long still.

On a terminal a bar that moves; elsewhere (a file, a pipe, TERM=dumb) plain lines: the first step,
then at every tenth of the way or after a minute of silence, and the last.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.errors import LiveError
from rich.live import Live
from rich.text import Text

from bvrank.records import StepReport

QUIET = 60.0  # seconds after which a plain log speaks again
BAR = 20  # columns
Figure = float | str
HEADLINE = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "schedule/alpha": "alpha",
    "speed/tokens_per_second": "tokens/s",
}


class Screen(Console):
    """Where progress is shown: stderr. A reader that goes away silences it and stops nothing."""

    def on_broken_pipe(self) -> None:
        """Falls silent; rich would end the process, and with it the run."""
        self.quiet = True


@lru_cache(maxsize=1)
def _screen() -> Screen:
    return Screen(stderr=True)  # one for all, so that a phase within a phase stands below it


class Phase:
    """One stretch of counted work. `advance` tells what was done; a console tells the user.

    Time left is what remains at the mean rate of this phase, so `done` (where a resumed run
    starts) does not count as work.
    """

    def __init__(
        self, title: str, total: int, *, done: int = 0, clock: Callable[[], float] = monotonic
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self._first, self._clock = done, clock
        self._began = self._last = clock()
        self.figures: dict[str, Figure] = {}

    def advance(self, n: int = 1, **figures: Figure) -> None:
        """`n` more are done; `figures` replace those of the same name on the line."""
        self.done += n
        self.figures |= figures
        self._last = self._clock()
        self._show()

    @property
    def elapsed(self) -> float:
        """Seconds since the phase began."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds still to go, None before anything was done."""
        worked = self.done - self._first
        if self.done >= self.total:
            return 0.0
        if worked <= 0:
            return None
        due = (self._last - self._began) / worked * (self.total - self.done)
        return max(0.0, due - (self._clock() - self._last))

    def told(self, most: int | None = None) -> str:
        """The figures as text, the first `most` of them."""
        shown = list(self.figures.items())[:most]
        return "  ".join(f"{name} {_number(value)}" for name, value in shown)

    def line(self) -> str:
        """The whole state in one plain line."""
        share = 100 * self.done // self.total if self.total else 100
        head = f"{self.title}: {self.done}/{self.total} ({share}%)"
        return "  ".join(p for p in (head, self.told(), *self.times()) if p)

    def times(self) -> tuple[str, str]:
        """Time gone and time left; of a phase that is over, how long it took."""
        if self.done >= self.total:
            return "", f"took {duration(self._last - self._began)}"
        return f"elapsed {duration(self.elapsed)}", f"left {duration(self.left)}"

    def close(self) -> None:
        """Says where the phase ended."""

    def _show(self) -> None:
        """Brings the console up to date."""


class _PlainPhase(Phase):
    def __init__(self, console: Console, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._console = console
        self._said: int | None = None
        self._spoke = self._began

    def _show(self) -> None:
        tenth = 10 * self.done // max(self.total, 1)
        before = 10 * (self._said or 0) // max(self.total, 1)
        if self._said is None or tenth > before or self._last - self._spoke >= QUIET:
            self._say()

    def close(self) -> None:
        if self._said != self.done and self.done > self._first:
            self._say()

    def _say(self) -> None:
        self._said, self._spoke = self.done, self._last
        with contextlib.suppress(OSError, ValueError):  # stderr closed, or of an odd encoding
            self._console.print(self.line(), markup=False, highlight=False, soft_wrap=True)


class _LivePhase(Phase):
    def __init__(self, console: Console, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # rich lifts prints above the line by sending them to stderr: not those that go to a file.
        lift = sys.stdout is not None and sys.stdout.isatty()
        self._live = Live(self, console=console, refresh_per_second=8, redirect_stdout=lift)
        # LiveError: before rich 14.1 a phase within a phase cannot be shown.
        with contextlib.suppress(OSError, ValueError, LiveError):
            self._live.start()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield fitted(self, options.max_width, ascii_only=options.ascii_only)


class Progress:
    """The tracker that shows training as a phase: loss, accuracy, margin, speed, time left.

    Reads the number of steps from the config's `steps`; `done` is the step a resumed run is at.
    """

    def __init__(
        self, title: str = "training", *, done: int = 0, console: Console | None = None
    ) -> None:
        self._title, self._done, self._console = title, done, console
        self._stack = contextlib.ExitStack()
        self._phase: Phase | None = None

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Shows the line."""
        opened = phase(self._title, int(config["steps"]), done=self._done, console=self._console)
        self._phase = self._stack.enter_context(opened)

    def log(self, report: StepReport) -> None:
        """Moves it to the step of `report`."""
        if self._phase is not None:
            ahead = max(0, report.step - self._phase.done)
            self._phase.advance(ahead, **headline(report.values))
            if self._phase.done >= self._phase.total:
                self.finish({})  # what is measured afterwards shows lines of its own

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Leaves the last state standing; also right after a failure."""
        self._stack.close()
        self._phase = None


@contextlib.contextmanager
def phase(
    title: str,
    total: int,
    *,
    done: int = 0,
    console: Console | None = None,
    clock: Callable[[], float] = monotonic,
) -> Iterator[Phase]:
    """Shows `total` units of work while the block runs: `with phase("sampling", 500) as p: ...`.

    Call `p.advance(n, name=value, ...)` in it. Writes to stderr, or to `console`; of no work,
    nothing.
    """
    console = console or _screen()
    live = console.is_terminal and not console.is_dumb_terminal
    kind = _LivePhase if live else _PlainPhase
    shown = kind(console, title, total, done=done, clock=clock) if total else None
    running = shown or Phase(title, total, done=done, clock=clock)
    try:
        yield running
    finally:
        running.close()


def headline(values: Mapping[str, float]) -> dict[str, Figure]:
    """The few figures of a step that fit on a line: loss, accuracy, margin, speed."""
    training = {k: v for k, v in values.items() if not k.startswith("eval/")}
    shown: dict[str, Figure] = {}
    for key, value in training.items():
        name = HEADLINE.get(key) or HEADLINE.get(key.partition("/")[2])
        if name and name not in shown:  # the first view speaks for all
            shown[name] = value
    return {name: shown[name] for name in HEADLINE.values() if name in shown}


def duration(seconds: float | None) -> str:
    """`0:07`, `12:30`, `3:05:00`, `2d 04:10`; `?` for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    minutes, hours, days = whole // 60 % 60, whole // 3600 % 24, whole // 86400
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    clock = f"{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
    return f"{hours}:{clock}" if hours else clock


def fitted(state: Phase, width: int, *, ascii_only: bool = False) -> Text:
    """The live line in at most `width` columns: what matters least goes first, time left last."""
    count = f"{state.done}/{state.total}"
    elapsed, left = state.times()
    bar = _bar(state, ascii_only)
    for parts in (
        (state.title, bar, count, state.told(), elapsed, left),
        (state.title, bar, count, state.told(), left),
        (state.title, count, state.told(), left),
        (state.title, count, state.told(2), left),
        (state.title, count, state.told(1), left),
        (state.title, count, left),
        (count, left),
    ):
        line = "  ".join(part for part in parts if part)
        if len(line) <= width:
            break
    text = Text(line[:width], no_wrap=True, overflow="crop")
    text.highlight_words([bar, left], "cyan")
    return text


def _bar(state: Phase, ascii_only: bool) -> str:
    filled = min(BAR, BAR * state.done // max(state.total, 1))
    full, empty = ("#", "-") if ascii_only else ("\u2501", "\u2500")
    return full * filled + empty * (BAR - filled)


def _number(value: Figure) -> str:
    """Three or four digits, so that a line keeps its width while numbers change."""
    if isinstance(value, str | int):
        return str(value)
    value = value or 0.0  # no "-0.000"
    size = abs(value)
    if 0 < size < 1e-3:
        return f"{value:.1e}"
    if size < 10:
        return f"{value:.3f}"
    return f"{value:.1f}" if size < 1000 else f"{value / 1000:.1f}k"
