"""The sampled estimator's exact moments: by enumeration, by autograd, by simulation."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from bvrank.objectives.irpo import IRPO
from tests.objectives.estimator import (
    SIZES,
    estimator_moments,
    pulls,
    random_list,
    relative_variances,
    simulated,
    table,
)
from tests.objectives.oracles import graded, lists


@pytest.mark.parametrize("size", SIZES)
def test_its_mean_is_the_exact_gradient(size: int) -> None:
    scores, relevance = random_list(size, 1.5, torch.Generator().manual_seed(size))
    _, gradient = graded(IRPO(1.0), lists(relevance.tolist(), scores.tolist()))
    mean = estimator_moments(scores, relevance).mean
    torch.testing.assert_close(mean, gradient[0, 0], rtol=1e-11, atol=1e-13)


def test_moments_are_those_of_every_draw_weighed_by_its_chance() -> None:
    scores = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)
    relevance = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    a, rho = pulls(scores, relevance)
    mean, square, whole = torch.zeros(4).double(), 0.0, 0.0
    for js in product(range(4), repeat=4):
        chance = math.prod(float(rho[i, j]) for i, j in enumerate(js))
        value = torch.zeros(4).double()
        for i, j in enumerate(js):
            value[j] += a[i]
            value[i] -= a[i]
        whole += chance
        mean += chance * value
        square += chance * float(value @ value)
    found = estimator_moments(scores, relevance)
    assert whole == pytest.approx(1)
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=1e-14)
    assert found.variance == pytest.approx(square - float(mean @ mean), rel=1e-12)
    assert found.relative == pytest.approx(found.variance / float(mean @ mean), rel=1e-12)


@pytest.mark.parametrize("size", [2, 10, 50])
def test_moments_are_those_of_a_simulation(size: int) -> None:
    """Within five standard errors."""
    count = 20_000
    scores, relevance = random_list(size, 1.0, torch.Generator().manual_seed(size))
    drawn, exact = simulated(scores, relevance, count, seed=1), estimator_moments(scores, relevance)
    off = float((drawn.mean(0) - exact.mean).norm())
    assert off < 5 * math.sqrt(exact.variance / count)
    squares = ((drawn - exact.mean) ** 2).sum(1)
    assert abs(float(squares.mean()) - exact.variance) < 5 * float(squares.std()) / count**0.5


@pytest.mark.parametrize("size", SIZES)
def test_with_one_relevant_item_and_equal_scores_the_noise_is_the_gradient(size: int) -> None:
    relevance = torch.zeros(size, dtype=torch.float64)
    relevance[0] = 1
    found = estimator_moments(torch.full_like(relevance, 0.3), relevance)
    assert found.relative == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("gap", [-3.0, 0.0, 5.0])
def test_of_two_the_noise_grows_as_the_pair_is_settled(gap: float) -> None:
    """p / (1 - p) = e^gap: draws that hit the anchor itself say nothing."""
    scores = torch.tensor([gap, 0.0], dtype=torch.float64)
    found = estimator_moments(scores, torch.tensor([1.0, 0.0]).double())
    assert found.relative == pytest.approx(math.exp(gap), rel=1e-12)


def test_the_table_has_a_line_for_every_size() -> None:
    found = relative_variances(10, 1.0, 20, 0)
    assert found == sorted(found) and found == relative_variances(10, 1.0, 20, 0)
    lines = table(count=10).splitlines()
    assert [int(line.split()[0]) for line in lines[3:]] == list(SIZES)
