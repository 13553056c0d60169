"""ApproxNDCG is NDCG once its ranks are steep."""

from __future__ import annotations

import math

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.approx_ndcg import ApproxNDCG
from tests.objectives.oracles import graded, lists, padded, random_prefs

SCORES, GRADES = [0.3, -1.0, 2.0, 0.1], [1.0, 2.0, 0.0, 3.0]


def ndcg(scores: list[float], y: list[float]) -> float:
    def dcg(order: list[int]) -> float:
        return sum((2 ** y[i] - 1) / math.log2(1 + r) for r, i in enumerate(order, 1))

    ideal, found = (sorted(range(len(y)), key=lambda i: -key[i]) for key in (y, scores))
    return dcg(found) / dcg(ideal)


def test_it_tends_to_ndcg_as_the_sigmoids_grow_steep() -> None:
    prefs, exact = padded(lists(GRADES, SCORES), 2, 7.0), ndcg(SCORES, GRADES)
    errors = [
        abs(float(ApproxNDCG(1.0, steepness=a)(prefs).loss) + exact) for a in (1, 10, 30, 1e3)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.02 and errors[1] > 1e-3 and errors[3] < 1e-12


def test_a_perfect_order_is_minus_1() -> None:
    best = ApproxNDCG(1.0, steepness=1e3)(lists(GRADES, [1.0, 2.0, 0.0, 3.0]))
    assert float(best.loss) == pytest.approx(-1, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_lies_between_minus_1_and_0(seed: int) -> None:
    outcome = ApproxNDCG(1.0, steepness=5.0)(random_prefs(seed, rows=50))
    loss = outcome.loss[outcome.count > 0]
    assert bool(((loss < 0) & (loss >= -1 - 1e-12)).all()) and loss.numel() > 20


def test_beta_times_steepness_is_all_that_counts() -> None:
    prefs = random_prefs(0)
    pairs = zip(graded(ApproxNDCG(0.5, steepness=4.0), prefs),
                graded(ApproxNDCG(2.0, steepness=1.0), prefs), strict=True)  # fmt: skip
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)


def test_the_gradient_raises_what_is_relevant_and_vanishes_as_ranks_settle() -> None:
    _, soft = graded(ApproxNDCG(1.0), lists([0, 1], [0.5, 0.0]))
    assert soft.flatten()[1] < 0 < soft.flatten()[0]
    _, steep = graded(ApproxNDCG(1.0, steepness=1e3), lists([0, 1], [0.5, 0.0]))
    assert not bool((steep.abs() > 1e-100).any())


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_steepness_is_above_0(value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        ApproxNDCG(steepness=value)
    assert caught.value.where == "steepness"
