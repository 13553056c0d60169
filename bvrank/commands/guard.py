"""How a process ends: one line for what a user can repair, a traceback for a bug."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from bvrank.errors import BvrankError, Interrupted

BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for a reader that went away
OUTSIDE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}
)


def guarded(action: Callable[[], int]) -> int:
    """Runs `action` and returns the exit code. With BVRANK_DEBUG=1 errors keep their traceback."""
    try:
        code = action()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (BvrankError, KeyboardInterrupt, OSError) as error:
        known = explained(error)
        if known is None or debugging():
            sys.excepthook = _uncaught
            raise
        tell(known)
        return known.exit_code
    except Exception:
        sys.excepthook = _uncaught
        raise


def explained(error: BaseException) -> BvrankError | None:
    """The error as one that is told in a line; None for a bug."""
    if isinstance(error, BvrankError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped")
    if isinstance(error, OSError) and error.errno in OUTSIDE:
        return BvrankError(error.strerror or "cannot be used", where=str(error.filename or ""))
    return None


def tell(error: BvrankError) -> None:
    """Writes the one line to stderr."""
    from bvrank.secrets import redact

    line = " ".join(str(error).split())
    print(f"error: {redact(line)}", file=sys.stderr)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints the traceback of a bug; a secret in a message is hidden."""
    from bvrank.secrets import redact

    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), end="", file=sys.stderr)


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("BVRANK_DEBUG") == "1"
