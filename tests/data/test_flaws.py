from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from bvrank.data.flaws import KINDS, Flaw, findings
from bvrank.data.refusals import NO_FAULT
from tests.commands.line import ROOT


def reasons() -> Iterator[str]:
    """Every reason that the data room writes into an Unfit, a Refused or a Flaw."""
    place = {"Unfit": 0, "Refused": 1, "Flaw": 1}
    for path in (ROOT / "bvrank" / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = place.get(node.func.id)
                if at is not None and len(node.args) > at:
                    reason = node.args[at]
                    if isinstance(reason, ast.Constant):
                        yield str(reason.value)


def test_every_reason_has_a_meaning_and_every_meaning_a_reason() -> None:
    passed_on = {"relevance_length", "rank_length"}  # through a parameter
    assert {*reasons(), *passed_on, *NO_FAULT} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_and_how_to_repair(name: str) -> None:
    kind = KINDS[name]
    assert kind.level in ("note", "warning", "problem")
    assert len(kind.what) > 8 and not kind.what.endswith(".")
    assert kind.repair.endswith(".")


def test_findings_group_by_reason_and_count_a_row_once() -> None:
    flaws = [
        Flaw("f:1", "too_long", "view full: 9"), Flaw("f:1", "too_long", "view bare: 8"),
        Flaw("f:3", "equal_sides", "same"), Flaw("f:2", "too_long", "7"),
    ]  # fmt: skip
    found = findings(flaws)
    assert [(f.name, f.count, [r.where for r in f.rows]) for f in found] == [
        ("too_long", 2, ["f:1", "f:2"]), ("equal_sides", 1, ["f:3"]),
    ]  # fmt: skip
    assert findings([]) == []


def test_a_reason_of_a_source_from_elsewhere_is_told_too() -> None:
    (found,) = findings([Flaw("f:1", "their_own", "odd")])
    assert (found.check, found.level, found.what) == ("rows", "warning", "their own")
