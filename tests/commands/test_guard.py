from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bvrank.commands.guard import STOPS, explained, guarded
from bvrank.errors import BvrankError, ConfigError, Interrupted, TrainingError
from tests.commands.line import ROOT


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("must be 1", where="a", repair="Set a=1."), 2, "a: must be 1. Set a=1."),
        (ConfigError("two\n  lines"), 2, "two lines"),
        (TrainingError("loss is nan"), 3, "loss is nan"),
        (Interrupted("stopped, state is saved"), 130, "stopped, state is saved"),
        (KeyboardInterrupt(), 130, "stopped"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "/x"), 2, "/x: No space left"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), 2,
         "/x: Too many open files. Raise the limit of this shell: ulimit -n 65536."),
        (OSError(errno.ENFILE, "Too many open files in system"), 2,
         "Too many open files in system. The whole machine is at its limit: end what holds many "
         "files open."),
    ],
)  # fmt: skip
def test_what_a_user_can_repair_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: raising(error)) == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


MANY = """
import resource, sys
import bvrank.secrets  # as every command has it from its first words on
from bvrank.commands.guard import guarded

def action():
    held = []
    while True:
        held.append(open("/dev/null"))

resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
sys.exit(guarded(action))
"""


def test_files_that_really_run_out_are_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: /dev/null: Too many open files. Raise the limit of this shell: ulimit -n 65536.\n"
    )


def test_a_code_passes_through() -> None:
    assert guarded(lambda: 3) == 3


@pytest.mark.parametrize("bug", [TypeError("x"), KeyError("x"), FileNotFoundError(2, "no", "x")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        guarded(lambda: raising(bug))


def test_debugging_keeps_every_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BVRANK_DEBUG", "1")
    with pytest.raises(ConfigError):
        guarded(lambda: raising(ConfigError("x")))


def test_explained() -> None:
    error = BvrankError("x")
    assert explained(error) is error
    assert explained(ValueError("x")) is None


def test_secrets_in_a_message_or_a_traceback_are_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_TOKEN", "planted-value")
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    assert guarded(lambda: raising(ConfigError("got planted-value"))) == 2
    assert capsys.readouterr().err == "error: got ***\n"
    try:
        guarded(lambda: raising(ValueError("got planted-value")))
    except ValueError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("ValueError: got ***\n")


@pytest.mark.parametrize("number", STOPS)
def test_each_signal_to_stop_is_one_line(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = {n: signal.getsignal(n) for n in STOPS}
    assert guarded(lambda: os.kill(os.getpid(), number) or 0) == 130
    assert capsys.readouterr() == ("", f"error: stopped by {number.name}\n")
    assert {n: signal.getsignal(n) for n in STOPS} == usual


def test_an_interrupt_that_comes_out_as_something_else_is_no_bug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loading() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0
        except KeyboardInterrupt:
            raise ImportError("half initialised") from None

    assert guarded(loading) == 130
    assert capsys.readouterr().err == "error: stopped by SIGTERM\n"


def test_an_interrupt_that_some_code_took_for_a_mistake_is_told_as_what_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def probing() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            return 0
        except KeyboardInterrupt:
            raise ConfigError("does not fit", where="optimizer.options") from None

    assert guarded(probing) == 130
    assert capsys.readouterr().err == "error: stopped by SIGINT\n"


def test_python_m_ends_with_the_code_though_the_signal_came_within_an_exec(tmp_path: Path) -> None:
    (tmp_path / "hears.py").write_text(
        "import os, signal, sys\nfrom bvrank.commands.guard import guarded\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGINT) or 0\n"
        "sys.exit(guarded(lambda: exec('kill()') or 0))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run([sys.executable, "-m", "hears"], env={**os.environ, "PYTHONPATH": path},
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "error: stopped by SIGINT\n")


def test_what_is_ignored_or_heard_already_is_left_alone() -> None:
    heard: list[int] = []
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    other = signal.signal(signal.SIGUSR1, lambda n, _: heard.append(n))
    try:
        assert guarded(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
        assert guarded(lambda: os.kill(os.getpid(), signal.SIGUSR1) or 0) == 0
    finally:
        signal.signal(signal.SIGHUP, usual)
        signal.signal(signal.SIGUSR1, other)
    assert heard == [signal.SIGUSR1]


def test_outside_the_main_thread_a_command_runs_too() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(guarded(lambda: 3)))
    thread.start()
    thread.join()
    assert codes == [3]
