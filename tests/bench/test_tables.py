"""Figures of the tables, against what they were made of."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from bvrank.bench.result import Cell, Result, recomputes
from bvrank.bench.tables import SPREAD, SUITES, digits, fitted, tables
from bvrank.errors import DataError
from tests.bench.results import arm, every, growth, lists, memory, pairs, ranks, start


def test_every_suite_has_tables_whose_lines_fit_their_heads() -> None:
    assert [r.suite for r in every()] == list(SUITES)
    for result in every():
        for table in tables(result):
            assert table.lines and table.title
            assert all(len(line) == len(table.heads) for line in table.lines)


def test_lists_tell_how_many_times_faster_the_tree_is() -> None:
    (table,) = tables(lists())
    assert table.lines[0] == ("128", "5", "1,000", "10.00x [10.00, 15.00]", "15.00x [5.00, 15.00]",
                              "2.00x [2.00, 2.00]", "3")  # fmt: skip
    assert table.names == 2 and SPREAD in table.notes
    assert table.title.endswith("2 threads")


def test_pairs_are_told_over_the_faster_of_bvranks_arms() -> None:
    (table,) = tables(pairs())
    ratios = {line[0]: line[3] for line in table.lines}
    assert ratios == {
        "bvrank micro 8": "2.00x [2.00, 2.00]",
        "bvrank micro 2": "",
        "trl micro 8 live": "4.00x [3.00, 5.00]",
    }
    assert table.lines[2][1:3] == ("8.00", "6.00-10.0") and table.lines[2][-1] == "3"
    speed, _, screen = table.notes[1:]  # 6 seconds in three steps of the faster arm
    assert "100 unique tokens a second" in speed and "operations on unique tokens 2 G" in speed
    assert "0.50 of a matrix product's 4 G" in speed
    assert screen.endswith("micro 8 live 7.5 s, micro 8 precomputed 9.0 s")


def test_memory_is_told_as_a_share_of_trls_arm_that_treats_activations_alike() -> None:
    (table,) = tables(memory())
    assert table.lines[:5] == (
        ("1,000", "100", "bvrank micro 1", "3", "1", "0.500", "0.250"),
        ("1,000", "100", "bvrank micro 1 recomputed", "2", "0", "0.500", "0.500"),
        ("1,000", "100", "trl micro 1 precomputed", "6", "4", "", ""),
        ("1,000", "100", "trl micro 1 precomputed recomputed", "4", "1", "", ""),
        ("1,000", "200", "bvrank micro 1", "3", "1", "0.500", "0.250"),
    )
    assert any("computes activations again" in note for note in table.notes)
    (alone,) = tables(memory(peer=False))
    assert alone.heads == table.heads[:5]
    assert alone.lines[3] == ("2,000", "200", "bvrank micro 1", "3", "1")


def test_memory_without_an_alike_arm_of_trl_has_no_share() -> None:
    cells = tuple(
        replace(c, arms={n: a for n, a in c.arms.items() if not (n[:3] == "trl" and recomputes(n))})
        for c in memory().cells
    )
    (table,) = tables(replace(memory(), cells=cells))
    shares = {line[2]: line[5] for line in table.lines}
    assert shares["bvrank micro 1"] == "0.500" and shares["bvrank micro 1 recomputed"] == ""


def test_how_far_losses_agreed_is_told_with_what_was_allowed_and_how_far_they_moved() -> None:
    (table,) = tables(pairs())
    note = "losses of one step differ by 0.0002 nats at most, 0.001 is allowed; they move by 0.05"
    assert note in table.notes
    (table,) = tables(pairs("views"))
    (weak,) = (note for note in table.notes if note.startswith("TRL's pass on one view"))
    assert weak.endswith("they move by 0.0005, which is too little to tell")


@pytest.mark.parametrize("slopes", [(2e-3, 3e-6), (1e-3, 0.0), (0.0, 1e-6)])
def test_the_line_is_found_again_where_the_seconds_lie_on_it(slopes: tuple[float, float]) -> None:
    cells = [c for c in growth(*slopes).cells if c.setting["grows"] == "items"]
    line = fitted(cells)
    assert line is not None
    np.testing.assert_allclose(line, [c.arms["step"].median for c in cells], rtol=1e-9)


@pytest.mark.parametrize("wrong", [(5e-3, -1e-6), (-1e-4, 1e-5)])
def test_no_slope_of_the_line_is_negative(wrong: tuple[float, float]) -> None:
    """Then the line has one term, the one that is nearer."""
    cells = [c for c in growth(*wrong).cells if c.setting["grows"] == "items"]
    line = np.array(fitted(cells))
    work = np.array([[c.facts["tokens"], c.facts["pairs"]] for c in cells])
    slopes, *_ = np.linalg.lstsq(work, line, rcond=None)
    assert slopes.min() > -1e-12 and slopes.max() > 0
    seconds = np.array([c.arms["step"].median for c in cells])

    def error(given: np.ndarray) -> float:
        return float(((given / seconds - 1) ** 2).sum())

    for column in work.T:
        for slope in np.linspace(0, 2, 2001) * (seconds / column).max():
            assert error(line) <= error(slope * column) + 1e-12


def test_what_touches_no_weight_has_no_line() -> None:
    items, rows = tables(growth())
    assert items.heads[-1] == "over the line" and {line[-1] for line in items.lines} == {"1.00"}
    assert items.lines[0] == ("5", "212", "212-212", "1", "100", "2,120", "1.00")
    assert rows.heads == ("rows", "ms a step", "least-most", "steps")
    assert rows.lines[1] == ("1,000,000", "4.00", "4.00-4.00", "1")
    assert fitted([c for c in growth().cells if c.setting["grows"] == "rows"]) is None


def test_figures_have_three_digits_or_are_whole() -> None:
    given = (0.00123456, 0.5, 1.0, 12.345, 99.96, 1234.5)
    assert [digits(x) for x in given] == ["0.00123", "0.500", "1.00", "12.3", "100", "1,234"]


def test_starts_and_ranks_are_told_by_their_medians() -> None:
    (starts,), (two,) = tables(start()), tables(ranks())
    assert starts.lines[0] == ("--help", "0.200", "0.100-0.300", "3")
    assert [line[1:] for line in two.lines] == [
        ("3.00", "3.00-9.00", "", "3"), ("2.00", "2.00-2.00", "1.50x", "3"),
    ]  # fmt: skip


def test_the_accelerator_is_named_where_there_was_one() -> None:
    on = replace(lists(), machine={"threads": 1, "accelerator": "a card"})
    assert tables(on)[0].title.endswith("a card")
    one = replace(lists(), machine={"threads": 1})
    assert re.search(r"1 thread$", tables(one)[0].title)


@pytest.mark.parametrize(
    "result",
    [
        Result("lists", {}, {"threads": 1}, (Cell({"prompt": 1, "items": 1}, {"forest": arm(1)}),)),
        Result("pairs", {}, {"threads": 1}, (Cell({"views": "full"}, {"trl": arm(1)}),)),
        Result("ranks", {}, {}, (Cell({"batch": 8}, {"1 rank": arm(1)}),)),
        replace(lists(), machine={}),
        replace(lists(), suite="nothing"),
    ],
)
def test_a_result_that_lacks_a_figure_is_named(result: Result) -> None:
    with pytest.raises(DataError, match=rf"^{result.suite}\.json: holds no measurement"):
        tables(result)
