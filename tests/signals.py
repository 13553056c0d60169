"""Signals: those that a shell has its background jobs ignore, and a kill -9 in mid-write."""

from __future__ import annotations

import os
import signal

USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}


def heard() -> None:
    """From here on they are heard, here and in the processes that are started from here."""
    for number, handler in USUAL.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def killed_at_write(writes: int, share: float) -> None:
    """From now on this process writes so many times, and is killed at a share of the next."""
    write, left = os.write, iter(range(writes, -1, -1))

    def torn(file: int, data: bytes) -> int:
        if next(left):
            return write(file, data)
        write(file, data[: int(share * len(data))])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives")

    os.write = torn
