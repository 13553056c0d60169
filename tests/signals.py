"""Signals that a shell's background job is started to ignore, as is every process below it."""

from __future__ import annotations

import signal

USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}


def heard() -> None:
    """From here on they are heard, here and in the processes that are started from here."""
    for number, handler in USUAL.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
