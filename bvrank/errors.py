"""What can go wrong, and how it is told.

    BvrankError            one line on stderr, no traceback
    |- ConfigError         a setting is wrong                         exit 2
    |- DataError           a file or row is wrong                     exit 2
    |- ModelError          a model or tokenizer does not fit          exit 2
    |- RunError            a run folder stands in the way             exit 2
    |- TrainingError       a run that had started had to stop         exit 3
    '- Interrupted         stopped from outside, state is saved       exit 130

Each message says what is wrong, where (file, row, key) and how to repair it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class BvrankError(Exception):
    """Base of every error that a user can repair: `what`, `where` it is, and the `repair`."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", repair: str = "") -> None:
        self.what, self.where, self.repair = what, where, repair
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head.rstrip('.')}. {self.repair}" if self.repair else head


class ConfigError(BvrankError):
    """A setting is unknown, out of range or does not fit another; `where` is its key."""


class DataError(BvrankError):
    """A file or a row cannot be used; `where` is `file:line`."""


class ModelError(BvrankError):
    """A model folder, tokenizer or template cannot be used."""


class RunError(BvrankError):
    """A run folder is unfinished, busy or damaged."""


class TrainingError(BvrankError):
    """Training had started and could not go on; what was saved stays. `rows` names the examples
    that caused it."""

    exit_code = 3

    def __init__(
        self, what: str, *, where: str = "", repair: str = "", rows: Sequence[str] = ()
    ) -> None:
        super().__init__(what, where=where, repair=repair)
        self.rows = tuple(rows)


class Interrupted(BvrankError):
    """Stopped by the user or the scheduler at a point from which the run resumes."""

    exit_code = 130


class Stopped(Interrupted):
    """Every rank of a run stopped behind the same step, and it is saved."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A repair sentence: the closest known names, or all of them when none is close."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "Known: " + ", ".join(names) + "." if names else ""
