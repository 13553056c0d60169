from __future__ import annotations

import errno
import sys

import pytest

from bvrank.commands.guard import explained, guarded
from bvrank.errors import BvrankError, ConfigError, Interrupted, TrainingError


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
    ],
)
def test_what_a_user_can_repair_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: raising(error)) == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


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
