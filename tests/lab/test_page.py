"""The page shows every table and figure, and what does not hold first."""

from __future__ import annotations

from bvrank.lab.page import page
from bvrank.lab.tables import tables
from tests.lab.found import BROKEN, cell, result, training
from tests.reports.html import Page


def test_every_table_and_figure_is_there() -> None:
    whole = result()
    shown = page(whole)
    for table in tables(whole):
        assert table.title in shown
    assert shown.count("<figure>") == 1 + 1 + 3 + 1
    told = [t for tag, t in Page(shown).texts if tag == "b"]
    assert "distance 0.5: alpha* 0.300" in told
    assert "Violated" not in shown
    assert page(whole) == shown


def test_nothing_is_loaded_and_nothing_runs() -> None:
    shown = page(result())
    assert "<script" not in shown and "http://" not in shown and "https://" not in shown


def test_a_violation_is_told_before_any_figure() -> None:
    shown = page(result(checks=[BROKEN]))
    assert shown.index("Violated: domination") < shown.index("<figure>")


def test_what_was_not_done_is_not_shown() -> None:
    shown = page(result(training=None))
    assert "<h2>Training</h2>" not in shown
    assert "Theorem 3" not in page(result(training=training(bound=False)))
    few = page(result(cells=[cell(7, 0.0)]))
    assert "<h2>Several traces</h2>" not in few
