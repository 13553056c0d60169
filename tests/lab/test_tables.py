"""Tables tell the figures of a result, no other ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bvrank.lab.check import Check
from bvrank.lab.tables import bias_interval, slopes, tables
from tests.lab.found import BROKEN, cell, estimator, result, training


def table(name: str, **changed: object) -> tuple[list[str], list[list[str]], str]:
    found = next(t for t in tables(result(**changed)) if t.name == name)
    assert all(len(line) == len(found.heads) for line in found.lines)
    return list(found.heads), [list(line) for line in found.lines], " ".join(found.notes)


def test_checks_in_order_of_theorems_with_what_fails() -> None:
    _, lines, note = table("checks", checks=[*result().checks, BROKEN])
    assert [line[0] for line in lines] == ["-", "1", "2"]
    assert lines[0] == ["-", "model", "2.0e-15", "1e-10", "holds"]
    assert lines[2][2:] == ["-", "1e-12", "VIOLATED"]
    assert "2 policies" in note


def test_alpha_star_and_what_it_is_worth() -> None:
    heads, lines, _ = table("alphas")
    line = dict(zip(heads, lines[1], strict=True))
    assert line["distance"] == "0.5"
    assert (line["alpha*"], line["argmin"]) == ("0.300000", "0.300000")
    assert (line["best end / a*"], line["0.5 / a*"]) == ("2.000", "1.500")


def test_batches_tell_each_kind_of_chance() -> None:
    _, lines, note = table("batches")
    assert len(lines) == 6 and len({line[0] for line in lines}) == 3
    assert "4 a step" in note


def test_estimators_with_slopes() -> None:
    heads, lines, note = table("estimators")
    assert [line[2] for line in lines] == ["1", "2", "4", "8"]
    assert dict(zip(heads, lines[0], strict=True))["95 %"] == "exact"
    assert "bias -1.00" in note
    assert slopes(cell(0, 0.5, (4, 8, 16)))["variance"] == pytest.approx(-1)
    none = [t.name for t in tables(replace(result(), cells=[cell(7, 0.0)]))]
    assert "estimators" not in none


def test_an_interval_of_a_bias_is_that_of_its_square() -> None:
    low, high = bias_interval({"bias2": 4.0, "stderr": 1.0})
    assert (low**2, high**2) == pytest.approx((2.04, 5.96))
    assert bias_interval({"bias2": 0.1, "stderr": 1.0})[0] == 0.0
    assert bias_interval(estimator(1))[0] < 4.0


def test_training_and_its_bound() -> None:
    heads, lines, note = table("arms")
    assert lines[0] == ["sgd", "g_t", "0.2 ± 0.1", "1 ± 0.5", "0.1 ± 0.05", "2 of 3"]
    assert "Behind 4 steps; means over 3 worlds" in note
    assert "best alpha of a single step, and not of training" in note
    assert "default weight decay" in note and "Diverged" not in note
    heads, lines, note = table("bound")
    told = dict(zip(heads, lines[0], strict=True))
    assert (told["bound"], told["B^2"], told["worlds above"]) == ("20 ± 2", "4 ± 1", "0")
    assert told["sigma^2"] == "7 ± 1"
    assert "2 of 3 worlds" in note and "1.5 times" in note


def test_without_training_or_sgd_there_is_less_to_tell() -> None:
    assert "arms" not in [t.name for t in tables(result(training=None))]
    names = [t.name for t in tables(result(training=training(bound=False)))]
    assert "arms" in names and "bound" not in names


def test_what_was_not_checked_neither_holds_nor_is_violated() -> None:
    left = Check("3", "bound", math.nan, 0.0, "nothing was trained")
    whole = result(checks=[*result().checks, left])
    assert whole.holds
    _, lines, _ = table("checks", checks=whole.checks)
    assert lines[-1] == ["3", "bound", "-", "0e+00", "not checked: nothing was trained"]


def test_an_arm_that_diverged_is_named_and_has_no_figures() -> None:
    told = training()
    lost = {"loss": [[0.69, 0.0], [math.nan, math.nan]], "above_exact": [math.nan, math.nan],
            "norm": [[3.0, 0.5], [math.nan, math.nan]], "diverged": 2}  # fmt: skip
    told["rules"]["sgd"]["g_t"] |= lost
    _, lines, note = table("arms", training=told)
    assert lines[0][2:5] == ["-", "-", "-"]
    assert "Diverged, its loss no number any more: sgd g_t in 2 of 3 worlds." in note


def test_a_variance_that_is_below_0_by_rounding_has_a_root() -> None:
    off = cell(7, 0.0)
    off["given"]["data"]["s_t"] = -1e-20
    heads, lines, _ = table("gradients", cells=[off])
    assert dict(zip(heads, lines[0], strict=True))["sd g_t"] == "0"
