"""How a process ends: one line for what a user can repair or asked for, a traceback for a bug."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from bvrank.errors import BvrankError, Interrupted

# Ctrl-C, a scheduler's end, its warning ahead of the end, and a terminal that goes away.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for a reader that went away
OUTSIDE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG,
     errno.EMFILE, errno.ENFILE}
)  # fmt: skip
REPAIRS = {
    errno.EMFILE: "Raise the limit of this shell: ulimit -n 65536.",
    errno.ENFILE: "The whole machine is at its limit: end what holds many files open.",
}


class Signalled(KeyboardInterrupt):
    """A signal of STOPS. Not KeyboardInterrupt itself: one of those that passes through an exec(),
    as in the import of a dataclass, has `python -m` end by SIGINT though it was caught (3.11)."""


def guarded(action: Callable[[], int]) -> int:
    """Runs `action` and returns the exit code. With BVRANK_DEBUG=1 errors keep their traceback."""
    with stoppable() as heard:
        try:
            code = action()
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except BaseException as error:
            known = explained(error)
            if heard and not isinstance(known, Interrupted):  # whatever code made of it on its way
                known = Interrupted(heard[0])
            if known is None or debugging():
                sys.excepthook = _uncaught
                raise
            tell(known)
            return known.exit_code


@contextmanager
def stoppable() -> Iterator[list[str]]:
    """While active, a signal of STOPS raises KeyboardInterrupt in the main thread; what was said
    of it is in the list. A signal that is ignored (nohup) or heard already is left alone, and
    outside the main thread all are."""
    heard: list[str] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(f"stopped by {signal.Signals(number).name}")
        raise Signalled(heard[-1])

    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {n: h for n in STOPS if (h := signal.getsignal(n)) in usual}
    try:
        for number in before:
            signal.signal(number, hear)
    except ValueError:  # not the main thread
        before = {}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def explained(error: BaseException) -> BvrankError | None:
    """The error as one that is told in a line; None for a bug."""
    if isinstance(error, BvrankError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(str(error) or "stopped")
    if isinstance(error, OSError) and error.errno in OUTSIDE:
        return BvrankError(error.strerror or "cannot be used", where=str(error.filename or ""),
                           repair=REPAIRS.get(error.errno or 0, ""))  # fmt: skip
    return None


def tell(error: BvrankError) -> None:
    """Writes the one line to stderr."""
    from bvrank.secrets import redact

    line = " ".join(str(error).split())
    with suppress(OSError):  # the terminal that went away took stderr along
        print(f"error: {redact(line)}", file=sys.stderr)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints the traceback of a bug; a secret in a message is hidden."""
    from bvrank.secrets import redact

    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), end="", file=sys.stderr)


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("BVRANK_DEBUG") == "1"


def heeded(number: signal.Signals) -> bool:
    """Whether the process was started to hear it: under nohup, SIGHUP is ignored."""
    return signal.getsignal(number) is not signal.SIG_IGN
