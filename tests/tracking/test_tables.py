from __future__ import annotations

from bvrank.evaluation.arithmetic import Accuracy, compared
from bvrank.tracking.tables import Table, figures, tables

BEFORE = Accuracy((0.25, 0.75), (0.0, 1.0), trace_tokens=5.0, closed_rate=1.0)
AFTER = Accuracy((0.75, 0.75), (1.0, 1.0), trace_tokens=4.0, closed_rate=1.0)
SUMMARY = {
    "rows": {"kept": 3, "refused": {"empty": 2}},
    "best": {"metric": "eval/loss", "value": 0.5, "step": 4},
    "accuracy": {"thinking": compared(BEFORE, AFTER, samples=4)},
    "next": "bvrank report",
}


def test_the_tables_are_those_of_the_summary() -> None:
    made = tables(SUMMARY)
    assert made["rows"].rows == (("kept", 3), ("refused: empty", 2))
    rows = {row[1]: dict(zip(made["accuracy"].columns, row, strict=True))
            for row in made["accuracy"].rows}  # fmt: skip
    assert {*rows} == {"avg@4", "greedy"}
    for row in rows.values():
        assert row["gain"] == row["after"] - row["before"]
        assert row["low"] < row["gain"] < row["high"]
        assert row["n"] == 2
    assert tables({}) == figures({}) == {}


def test_every_row_has_every_column() -> None:
    for table in tables(SUMMARY).values():
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_figures_are_flat_numbers() -> None:
    found = figures(SUMMARY)
    assert found["accuracy/thinking/before/avg@4"] == 0.5
    assert found["accuracy/thinking/after/trace_tokens"] == 4.0
    assert (found["best/value"], found["best/step"]) == (0.5, 4)
    assert all(isinstance(value, int | float) for value in found.values())


def test_a_bar_in_a_cell_does_not_split_it() -> None:
    assert Table(("a", "b"), (("x|y", 0.5),)).markdown().splitlines() == [
        "| a | b |", "| --- | --- |", "| x\\|y | 0.5000 |",
    ]  # fmt: skip
