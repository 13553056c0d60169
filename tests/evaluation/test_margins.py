"""Pairs of one view: every figure against explicit loops over pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bvrank.evaluation.margins import Margins, of_view
from bvrank.records import BARE, FULL, Branch, Encoded, Segment
from bvrank.statistics import difference

BETA = 0.5


def tree(where: str, relevance: list[float], view: str = FULL) -> Encoded:
    """Candidates of one token each."""
    segments = [Segment(-1, np.array([1], np.int32))]
    segments += [Segment(0, np.array([i + 2], np.int32)) for i in range(len(relevance))]
    branches = [Branch(view, (i + 1,), y, i + 1, i) for i, y in enumerate(relevance)]
    return Encoded(where, tuple(segments), tuple(branches))


def pairs(ratios: list[float], reference: float | None = -3.0) -> list[Any]:
    """Rows with this margin."""
    before = None if reference is None else (reference, 2 * reference)
    return [
        (tree(f"p:{i}", [1.0, 0.0]), ((reference or 0.0) + r, 2 * (reference or 0.0)), before)
        for i, r in enumerate(ratios)
    ]


def found(scored: list[Any], view: str = FULL) -> Margins:
    margins = of_view(view, BETA, scored)
    assert margins is not None
    return margins


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def error(chances: list[float], weights: list[float] | None = None) -> float:
    """The calibration error of chances of the chosen side, each pair in both orders."""
    weights = weights or [1 / len(chances)] * len(chances)
    both = [(p, 1.0, w / 2) for p, w in zip(chances, weights, strict=True)]
    both += [(1 - p, 0.0, w / 2) for p, w in zip(chances, weights, strict=True)]
    total = 0.0
    for low in range(10):
        inside = [(p, y, w) for p, y, w in both if min(int(10 * p), 9) == low]
        total += abs(sum(w * (y - p) for p, y, w in inside))
    return total


def test_every_figure_of_pairs_by_hand() -> None:
    ratios = [2.0, -1.0, 0.0, 0.7, 5.0, -3.0]
    cells = found(pairs(ratios)).cells(True)
    chances = [sigma(BETA * r) for r in ratios]
    assert [*cells["accuracy"].values()] == [1.0, 0.0, 0.5, 1.0, 1.0, 0.0]
    assert [*cells["brier"].values()] == pytest.approx([(1 - p) ** 2 for p in chances])
    assert [*cells["margin"].values()] == pytest.approx(ratios)
    assert [*cells["chosen_displacement"].values()] == pytest.approx(ratios)
    assert [*cells["rejected_displacement"].values()] == pytest.approx([0.0] * 6)
    assert np.mean([*cells["calibration_error"].values()]) == pytest.approx(error(chances))
    assert list(cells["accuracy"]) == [f"p:{i}" for i in range(6)]


def test_a_reward_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    ratio = math.log(3) / BETA  # three in four
    margins = found(pairs([ratio, ratio, ratio, -ratio]))
    assert margins.interval(0)[0] == pytest.approx(0.0, abs=1e-12)
    assert found(pairs([ratio] * 4)).interval(0)[0] == pytest.approx(0.25)


def test_a_row_of_several_pairs_is_their_mean_and_weighs_as_much_as_another() -> None:
    scored = [(tree("a", [1.0, 0.0, 0.0]), (-1.0, -2.0, 1.0), None), *pairs([1.0], None)]
    margins = found(scored)
    cells = margins.cells(False)
    assert [*cells["accuracy"].values()] == [0.5, 1.0]
    first = [sigma(BETA * 1.0), sigma(BETA * -2.0)]
    assert cells["brier"]["a"] == pytest.approx(np.mean([(1 - p) ** 2 for p in first]))
    whole = error([*first, sigma(BETA)], [0.25, 0.25, 0.5])
    assert margins.interval(0)[0] == pytest.approx(whole)
    assert np.mean([*cells["calibration_error"].values()]) == pytest.approx(whole)


def test_the_interval_of_the_error_is_that_of_resampled_rows() -> None:
    generator = np.random.default_rng(0)
    ratios = generator.normal(0.5, 3.0, 60)
    value, stderr, low, high = found(pairs(ratios.tolist())).interval(0)
    chances = np.array([sigma(BETA * r) for r in ratios])
    draws = [error(generator.choice(chances, 59).tolist()) for _ in range(1000)]
    assert value == pytest.approx(error(chances.tolist()))
    assert stderr == pytest.approx(np.std(draws), rel=0.15)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)


def test_compared_errors_have_the_interval_of_resampled_rows() -> None:
    """All rows in one bin, as confident of what is right in three of four and in nearly all."""
    generator = np.random.default_rng(1)
    size = np.log(9) / BETA  # 0.9
    signs = [np.where(generator.random(200) < share, 1, -1) for share in (0.6, 0.75)]
    arms = [found(pairs((size * s).tolist())) for s in signs]
    a, b = (np.array([*m.cells(True)["calibration_error"].values()]) for m in arms)
    compared = difference(a, b).estimate
    assert compared.value == pytest.approx(arms[1].interval(0)[0] - arms[0].interval(0)[0])
    again = []
    for _ in range(300):
        drawn = generator.integers(0, 200, 200)
        again.append(np.subtract(*(error([sigma(BETA * size * x) for x in s[drawn]])
                                   for s in reversed(signs))))  # fmt: skip
    assert compared.stderr == pytest.approx(np.std(again), rel=0.15)
    low, high = compared.interval
    assert high - low == pytest.approx(np.subtract(*np.quantile(again, [0.975, 0.025])), rel=0.2)


def test_one_row_has_no_interval() -> None:
    assert all(math.isnan(v) for v in found(pairs([1.0])).interval(0)[1:])


def test_other_views_and_rows_without_a_pair_are_left_out() -> None:
    bare = (tree("b", [1.0, 0.0], BARE), (-1.0, -2.0), None)
    alike = (tree("c", [1.0, 1.0]), (-1.0, -2.0), None)
    margins = found([bare, alike, *pairs([1.0], None)])
    assert margins.rows == ("p:0",) and margins.unpaired == 1
    assert of_view(FULL, BETA, [bare]) is None and of_view(FULL, BETA, [alike]) is None


def test_without_a_reference_nothing_has_moved() -> None:
    cells = found(pairs([1.0], None)).cells(False)
    assert set(cells) == {"accuracy", "brier", "calibration_error", "margin"}
    assert next(iter(found(pairs([1.0])).samples(FULL)))["chosen_displacement"] == 1.0
