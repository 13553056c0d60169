"""Figures: the marks stand where the figures are."""

from __future__ import annotations

import math
import re

from bvrank.lab import plots
from bvrank.lab.plots import errors, marginal, training
from tests.lab.found import cell, result
from tests.lab.found import training as told
from tests.reports.html import Page


def test_a_world_has_a_facet_to_each_distance_with_three_curves_and_a_mark() -> None:
    drawn = errors(result())
    assert drawn.count('role="img"') == 2
    assert drawn.count("<figure>") == 1
    facet = drawn.split('role="img"')[1]
    assert len(re.findall(r'class="line c[012] d[01]"', facet)) == 3
    texts = [t for tag, t in Page(drawn).texts if tag == "text"]
    assert {"0.2", "1.0", "alpha"} <= set(texts)


def test_the_bias_is_drawn_by_powers_beside_the_law() -> None:
    drawn = marginal(result())
    texts = [t for tag, t in Page(drawn).texts if tag == "text"]
    assert {"1", "2", "4", "8", "traces S"} <= set(texts)
    lines = re.findall(r'd="M([^"]*)" class="line c(\d) d(\d)"', drawn.split('role="img"')[1])
    (own, _, _), (law, colour, dash) = lines[:2]
    assert (colour, dash) == ("6", "1")
    assert own == law  # the planted bias is 4 / S
    assert marginal(result(cells=[cell(7, 0.0)])) == ""


def test_the_law_of_a_standard_deviation_is_named_as_it_is() -> None:
    legend = re.findall(r"<span>(1/[^<]*)</span>", marginal(result()))
    assert legend == ["1/S", "1/sqrt(S)"]


def test_the_last_step_is_drawn_however_many_there_are() -> None:
    count = 47
    one = {"steps": list(range(count)), "loss": [[1.0 / (i + 1), 0.0] for i in range(count)]}
    points = plots._series({"g_t": one}, "g_t", "steps", "loss").points
    assert [points[0].at, points[-1].at] == [0, count - 1]
    assert len(points) < 15


def test_what_diverged_is_not_drawn_and_the_rest_is() -> None:
    lost = told()
    lost["rules"]["sgd"]["g_t"]["loss"] = [[0.69, 0.0], [math.nan, math.nan], [math.nan, math.nan]]
    lost["bound"]["arms"]["g_t"]["bound"] = [math.nan, math.nan]
    drawn = training(lost)
    assert "nan" not in drawn
    assert drawn.count("<figure>") == 4
    for arm in lost["rules"]["sgd"].values():
        arm["loss"] = [[math.nan, math.nan]] * 3
    assert "nan" not in training(lost)


def test_training_has_its_figures_and_the_bound_where_there_is_one() -> None:
    drawn = training(told())
    heads = re.findall(r"<h3>([^<]*)</h3>", drawn)
    assert heads == ["The true marginal loss", "Norm of the true gradient",
                     "alpha* along training", "Theorem 3, SGD"]  # fmt: skip
    assert drawn.count("exact") > 0
    assert "Theorem 3" not in training(told(bound=False))
    stars = drawn.split("alpha* along training")[1].split("</figure>")[0]
    assert stars.count("<title>") == 2  # the arms that were measured
