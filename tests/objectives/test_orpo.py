"""ORPO: the odds of mean probabilities, and SFT beside them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bvrank.objectives.orpo import ORPO
from tests.objectives.oracles import checked, graded, lists


@pytest.mark.parametrize("w", [-3.0, -0.8, -0.6, -0.01])
@pytest.mark.parametrize("x", [-0.7, -0.001, -30.0])
def test_the_gradient_in_closed_form(w: float, x: float) -> None:
    """dL/dm = -sft_weight - beta sigma(-gap) / (1 - p_w), and beta sigma(-gap) / (1 - p_l)."""
    tokens = torch.tensor([[[2, 5]]])
    prefs = replace(lists([1, 0], [2 * w, 5 * x]), length=tokens)
    gap = math.log(math.expm1(-x) / math.expm1(-w))
    pull = 0.3 / (1 + math.exp(gap))
    expected = [-0.5 - pull / -math.expm1(w), pull / -math.expm1(x)]
    loss, gradient = graded(ORPO(0.3, sft_weight=0.5), prefs)
    assert float(loss) == pytest.approx(-0.5 * w + 0.3 * math.log(1 + math.exp(-gap)), rel=1e-10)
    per_mean = (gradient * tokens).flatten().tolist()
    assert per_mean == pytest.approx(expected, rel=1e-9)


def test_log_odds_keep_their_digits_on_both_sides_of_one_half() -> None:
    for m in (-1.1e-6, -3e-6, -7e-6, -0.3, -math.log(2), -0.7, -5.0, -50.0, -1e4):
        score = float(ORPO().scores(lists([1, 0], [m, -1.0]))[0, 0, 0])
        exact = -math.log(math.expm1(-m)) if m > -300 else m
        assert score == pytest.approx(exact, rel=1e-13, abs=1e-15)


def test_both_branches_pass_gradcheck_near_where_they_meet() -> None:
    ln2 = math.log(2)
    assert checked(ORPO(), lists([1, 0], [-ln2 - 1e-4, -ln2 + 1e-4]))
    assert checked(ORPO(), lists([1, 0], [-0.05, -9.0]))


@pytest.mark.parametrize("m", [0.0, -1e-300, -1e-12, -1e-7])
def test_certainty_is_finite(m: float) -> None:
    """Odds end at a million: e^m / (1 - e^m) with m = -1e-6."""
    top, half = math.log(1e6), -math.log(2)  # odds of 1
    won, pull = graded(ORPO(1.0), lists([1, 0], [m, half]))
    assert float(won) == pytest.approx(1e-6 - m, rel=1e-3) and pull.flatten()[0] == -1
    lost, push = graded(ORPO(1.0), lists([1, 0], [half, m]))
    assert float(lost) == pytest.approx(math.log(2) + top, rel=1e-6)
    assert pull.flatten()[1] == pytest.approx(2e-6, rel=1e-3) and push.flatten()[1] == 0
    assert push.flatten()[0] == pytest.approx(-1 - 2, rel=1e-5)
    assert float(graded(ORPO(1.0), lists([1, 0], [m, m]))[0]) == pytest.approx(math.log(2) - m)


def test_hopeless_sides_are_finite() -> None:
    loss, gradient = graded(ORPO(1.0), lists([1, 0], [-1e4, -1.0]))
    assert float(loss) == pytest.approx(2e4 - math.log(math.e - 1), rel=1e-12)
    assert gradient.flatten().tolist() == pytest.approx([-2, 1 / (1 - math.exp(-1))])
    loss, gradient = graded(ORPO(1.0), lists([1, 0], [-1.0, -1e4]))
    assert float(loss) == 1 and gradient.flatten().tolist() == [-1, 0]


def test_without_sft_it_is_the_odds_ratio_alone() -> None:
    assert ORPO().sft_weight == 1
    prefs = lists([1, 0], [-1.0, -1.0])
    assert float(ORPO(0.2, sft_weight=0.0)(prefs).loss) == pytest.approx(0.2 * math.log(2))
