"""`python -m tests.trials [table ...] [seed=0] [victim=all|one] [only=...] [key=value ...]`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as Shown

from tests.signals import heard
from tests.trials import TABLES, Request, Table

OWN = ("seed", "victim", "only")


def main(words: Sequence[str]) -> int:
    """Prints the tables that `words` name, all by default; 1 when a row is not as it should be."""
    names = [word for word in words if word in TABLES]
    rest = [word for word in words if word not in TABLES]
    if odd := [word for word in rest if "=" not in word]:
        print(f"error: no table '{odd[0]}'. Known: {', '.join(TABLES)}.", file=sys.stderr)
        return 2
    own = dict(word.split("=", 1) for word in rest if word.split("=")[0] in OWN)
    overrides = tuple(word for word in rest if word.split("=")[0] not in OWN)
    wrong = 0
    for name in names or TABLES:
        with tempfile.TemporaryDirectory(prefix="bvrank-trials-") as folder:
            request = Request(
                Path(folder), overrides, int(own.get("seed", 0)), own.get("victim", "all"),
                own.get("only", ""),
            )  # fmt: skip
            made = TABLES[name](request)
        show(made)
        wrong += made.wrong
    return 1 if wrong else 0


def show(table: Table) -> None:
    """Prints it; as plain text where nobody looks."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=220)
    shown = Shown(title=table.title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown, markup=False, highlight=False)
    right = len(table.rows) - table.wrong
    console.print(f"{right} of {len(table.rows)} rows as they should be", highlight=False)


if __name__ == "__main__":
    heard()
    sys.exit(main(sys.argv[1:]))
