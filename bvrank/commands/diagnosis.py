"""What `bvrank doctor` found: the screen, and the JSON document.

    {"bvrank": version, "schema": 1, "verdict": "ok" | "note" | "warning" | "problem",
     "counts": {"note": n, "warning": n, "problem": n},
     "checks": [{"area", "name", "status", "told",
                 "findings": [{"name", "level", "what", "repair", "count",
                               "rows": [{"where", "detail"}]}]}]}

`rows` holds the first ROWS of `count`; it is empty where a finding is not about rows.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bvrank import __version__
from bvrank.data.flaws import Finding

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
SHOWN, ROWS = 3, 100  # rows named on the screen, and in the JSON document
LEVELS = ("ok", "note", "warning", "problem")
LEFT, WIDEST = 24, 110  # columns in front of what a check tells, and of the whole screen
COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}


@dataclass(frozen=True)
class Check:
    """One line of the screen: what was looked at, what is to be told of it, and its findings."""

    area: str
    name: str
    told: str
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> str:
        """The gravest level of the findings, or ok."""
        return max((f.level for f in self.findings), key=LEVELS.index, default="ok")


def counts(checks: Sequence[Check]) -> dict[str, int]:
    """Findings by level."""
    found = [f.level for check in checks for f in check.findings]
    return {level: found.count(level) for level in LEVELS[1:]}  # type: ignore[arg-type]


def exit_code(checks: Sequence[Check]) -> int:
    """1 when there is a warning or a problem; notes are none."""
    found = counts(checks)
    return int(found["warning"] + found["problem"] > 0)


def document(checks: Sequence[Check]) -> str:
    """The JSON document."""
    verdict = max((c.status for c in checks), key=LEVELS.index, default="ok")
    whole = {
        "bvrank": __version__,
        "schema": SCHEMA,
        "verdict": verdict,
        "counts": counts(checks),
        "checks": [_plain(check) for check in checks],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False)


def _plain(check: Check) -> dict[str, Any]:
    found = [
        {"name": f.name, "level": f.level, "what": f.what, "repair": f.repair, "count": f.count,
         "rows": [{"where": r.where, "detail": r.detail} for r in f.rows[:ROWS]]}
        for f in check.findings
    ]  # fmt: skip
    return {"area": check.area, "name": check.name, "status": check.status, "told": check.told,
            "findings": found}  # fmt: skip


def console() -> Console:
    """stdout: coloured on a terminal, plain elsewhere and under NO_COLOR."""
    from rich.console import Console

    plain = "NO_COLOR" in os.environ
    found = Console(highlight=False, markup=False, color_system=None if plain else "auto")
    if not found.is_terminal:
        found = Console(highlight=False, markup=False, color_system=None, width=100)
    return found


def show(checks: Sequence[Check], screen: Console) -> None:
    """A line per check, the findings below, and a last line that sums up."""
    from rich.text import Text

    width = min(screen.width, WIDEST)
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            screen.print(Text(area, style="bold"))
        screen.print(_line(check, width), soft_wrap=True)
    for check in sorted(checks, key=lambda c: -LEVELS.index(c.status)):
        for finding in check.findings:
            screen.print()
            screen.print(_told(check, finding, width), soft_wrap=True)
    screen.print()
    screen.print(_verdict(checks))


def _line(check: Check, width: int) -> Any:
    """`  warning  sides        4 rows ...`, wrapped behind its columns."""
    from rich.text import Text

    first, *more = textwrap.wrap(check.told, max(width - LEFT, 30)) or [""]
    line = Text("  ").append(f"{check.status:<9}", COLOURS[check.status])
    line.append(f"{check.name:<{LEFT - 11}}{first}")
    for text in more:
        line.append(f"\n{'':<{LEFT}}{text}")
    return line


def _told(check: Check, finding: Finding, width: int) -> Any:
    """A finding: what, the first rows, the repair."""
    from rich.text import Text

    count = f" in {_counted(finding.count, finding.unit)}" if finding.rows and finding.unit else ""
    text = Text().append(f"{finding.level}  ", COLOURS[finding.level])
    text.append(_folded(f"{check.name}: {finding.what}{count}", width, 4)[4:])
    for line in _places(finding):
        text.append("\n" + _folded(line, width, 4))
    return text.append("\n  repair ", "bold").append(_folded(finding.repair, width, 9)[9:])


def _places(finding: Finding) -> Iterator[str]:
    """The first rows; on one line where all say the same."""
    rows = finding.rows[:SHOWN]
    more = f"and {finding.count - SHOWN:,} more" if rows and finding.count > SHOWN else ""
    details = {row.detail for row in finding.rows}
    if len(details) == 1 and len(rows) > 1:
        told = ", ".join(row.where for row in rows) + (f" {more}" if more else "")
        yield told if details == {finding.what} else f"{told}: {details.pop()}"
        return
    for row in rows:
        yield row.where if row.detail == finding.what else f"{row.where}: {row.detail}"
    if more:
        yield more


def _folded(text: str, width: int, indent: int) -> str:
    """Wrapped to `width` behind `indent` columns; no address is broken."""
    space = " " * indent
    return textwrap.fill(
        text, max(width, 40), initial_indent=space, subsequent_indent=space,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'s' if count > 1 else ''}"


def _verdict(checks: Sequence[Check]) -> Any:
    from rich.text import Text

    found = {level: n for level, n in counts(checks).items() if n}
    worst = max(found, key=LEVELS.index, default="ok")
    told = [_counted(n, level) for level, n in reversed(found.items())]
    return Text(", ".join(told) or "nothing is wrong", style=COLOURS[worst])
