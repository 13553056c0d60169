"""Trials of the real command: every engine and split, killed, starved of disk, signalled.

    python -m tests.trials                      every table
    python -m tests.trials kill seed=3          one table, with another draw of its moments
    python -m tests.trials kill engine=local    what is no key of the trials goes to the command

A table is a function in TABLES that takes a Request and returns a Table; its rows say whether they
are as they should be. The small versions in test_*.py run with every other test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What a table is made of: overrides of the command, a seed for its draws, a folder to work
    in, whom `kill` kills (`all` processes of the command, or `one` of its descendants), and the
    rows that are asked for (a pattern of their name; empty: all)."""

    folder: Path
    overrides: tuple[str, ...] = ()
    seed: int = 0
    victim: str = "all"
    only: str = ""


@dataclass
class Table:
    """Rows of text under `columns`; `wrong` counts those that are not as they should be."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    wrong: int = 0

    def add(self, *cells: object, right: bool) -> None:
        """One row more."""
        self.rows.append([str(cell) for cell in cells])
        self.wrong += not right


def _kill(request: Request) -> Table:
    from tests.trials.kill import table

    return table(request)


def _faults(request: Request) -> Table:
    from tests.trials.faults import table

    return table(request)


def _trajectory(request: Request) -> Table:
    from tests.trials.trajectory import table

    return table(request)


def _cost(request: Request) -> Table:
    from tests.trials.cost import table

    return table(request)


def _ranks(request: Request) -> Table:
    from tests.trials.ranks import table

    return table(request)


TABLES: Mapping[str, Callable[[Request], Table]] = {
    "trajectory": _trajectory, "cost": _cost, "kill": _kill, "ranks": _ranks,
    "faults": _faults,
}  # fmt: skip
