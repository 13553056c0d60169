from __future__ import annotations

import json
import re

import pytest
from rich.console import Console

from bvrank.commands.diagnosis import (
    LEVELS,
    SHOWN,
    Check,
    console,
    counts,
    document,
    exit_code,
    show,
)
from bvrank.data.flaws import Finding, Flaw

ROWS = tuple(Flaw(f"[bold]f[/bold].jsonl:{i}", "r", f"detail {i}") for i in range(1, 6))
ALIKE = tuple(Flaw(f"f:{i}", "r", "the same") for i in range(1, 6))
WARNING = Finding("sides", "equal_sides", "warning", "sides are equal", "Remove them.", 5, ROWS)
NOTE = Finding("length", "cut", "note", "cut", "Raise it.", 2, ALIKE[:2], "file")
PROBLEM = Finding("disk", "full", "problem", "no room", "Make some.")
CHECKS = [
    Check("machine", "disk", "told " * 40, (PROBLEM,)),
    Check("data", "rows", "200 train"),
    Check("data", "sides", "equal_sides 5", (WARNING,)),
    Check("data", "length", "cut 2", (NOTE,)),
]
SCREEN = """\
machine
  problem  disk         told told told told told told told told told told told
                        told told told told told told told told told told told
                        told told told told told told told told told told told
                        told told told told told told told
data
  ok       rows         200 train
  warning  sides        equal_sides 5
  note     length       cut 2

problem  disk: no room
  repair Make some.

warning  sides: sides are equal in 5 rows
    [bold]f[/bold].jsonl:1: detail 1
    [bold]f[/bold].jsonl:2: detail 2
    [bold]f[/bold].jsonl:3: detail 3
    and 2 more
  repair Remove them.

note  length: cut in 2 files
    f:1, f:2: the same
  repair Raise it.

1 problem, 1 warning, 1 note
"""


def shown(checks: list[Check], **options: object) -> str:
    screen = Console(width=78, highlight=False, markup=False, **options)  # type: ignore[arg-type]
    with screen.capture() as captured:
        show(checks, screen)
    return captured.get()


def test_the_screen_gravest_first_rows_bounded_and_no_markup_of_the_data() -> None:
    assert shown(CHECKS, color_system=None) == SCREEN


def test_colours_change_no_word() -> None:
    coloured = shown(CHECKS, force_terminal=True, color_system="standard")
    assert "\x1b[1;31mproblem" in coloured and "\x1b[32mok" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == SCREEN


def test_no_line_is_longer_than_the_terminal_and_none_ends_in_blanks() -> None:
    lines = shown(CHECKS, color_system=None).splitlines()
    assert max(map(len, lines)) <= 78 and all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(("kept", "code", "verdict"), [
    ([], 0, "nothing is wrong"), ([3], 0, "1 note"), ([2], 1, "1 warning"),
    ([0, 3], 1, "1 problem, 1 note"),
])  # fmt: skip
def test_warnings_and_problems_make_the_exit_code(kept: list[int], code: int, verdict: str) -> None:
    checks = [CHECKS[1], *(CHECKS[i] for i in kept)]
    assert exit_code(checks) == code
    assert shown(checks).splitlines()[-1] == verdict


def test_a_colourless_terminal_and_a_pipe_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert console().color_system is None
    monkeypatch.delenv("NO_COLOR")
    assert console().color_system is None  # pytest's stdout is no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console().color_system is not None


def test_the_document_has_a_fixed_shape() -> None:
    found = json.loads(document(CHECKS))
    assert list(found) == ["bvrank", "schema", "verdict", "counts", "checks"]
    assert (found["schema"], found["verdict"]) == (1, "problem")
    assert found["counts"] == counts(CHECKS) == {"note": 1, "warning": 1, "problem": 1}
    for check in found["checks"]:
        assert list(check) == ["area", "name", "status", "told", "findings"]
        assert check["status"] in LEVELS
        for finding in check["findings"]:
            assert list(finding) == ["name", "level", "what", "repair", "count", "rows"]
    sides = found["checks"][2]["findings"][0]
    assert len(sides["rows"]) == 5 > SHOWN
    assert sides["rows"][0] == {"where": "[bold]f[/bold].jsonl:1", "detail": "detail 1"}


def test_a_finding_that_counts_by_itself_gets_no_count() -> None:
    whole = Finding("lengths", "gap", "warning", "all of 9:", "Balance them.", 5, ALIKE, "")
    text = shown([Check("data", "lengths", "+1.0", (whole,))], color_system=None)
    assert "lengths: all of 9:\n    f:1, f:2, f:3 and 2 more: the same\n" in text


def test_an_empty_document_is_well() -> None:
    assert json.loads(document([]))["verdict"] == "ok"
