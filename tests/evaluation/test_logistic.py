"""The fit is the minimum that it says, whatever the penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bvrank.evaluation.logistic import fit, losses, sigmoid, spread
from bvrank.statistics import estimate


def problem(n: int = 60, width: int = 3, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, width))
    return x, generator.uniform(size=n), generator.uniform(0.1, 3, size=n)


@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_it_is_what_gradient_descent_finds(l2: float) -> None:
    x, y, w = problem()
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    tx, ty, tw = (torch.tensor(a) for a in (x, y, w))
    optimizer = torch.optim.LBFGS([b], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        told = torch.nn.functional.binary_cross_entropy_with_logits(
            tx @ b, ty, weight=tw, reduction="sum"
        )
        value = told + l2 / 2 * (b @ b)
        value.backward()
        return value

    optimizer.step(loss)
    assert fit(x, y, w, l2=l2) == pytest.approx(b.detach().numpy(), abs=1e-7)


@pytest.mark.parametrize("l1", [0.5, 3.0, 8.0, 1e3])
def test_under_an_l1_penalty_no_direction_leads_down(l1: float) -> None:
    """The conditions of Karush, Kuhn and Tucker."""
    x, y, w = problem()
    b = fit(x, y, w, l1=l1)
    slope = x.T @ (w * (sigmoid(x @ b) - y))
    for own, coefficient in zip(slope, b, strict=True):
        if coefficient:
            assert own == pytest.approx(-l1 * np.sign(coefficient), abs=1e-6)
        else:
            assert abs(own) <= l1 + 1e-6
    assert (l1 < 1e3) == bool(np.abs(b).any())


def test_an_intercept_alone_is_the_mean() -> None:
    _, y, w = problem()
    (b,) = fit(np.ones((60, 1)), y, w)
    assert sigmoid(np.array([b]))[0] == pytest.approx((w @ y) / w.sum(), abs=1e-9)


def test_a_weight_is_a_repetition() -> None:
    x, y, _ = problem()
    counts = np.arange(60) % 4
    again = np.repeat(np.arange(60), counts)
    assert fit(x, y, counts * 1.0) == pytest.approx(fit(x[again], y[again], np.ones(len(again))))


def test_planted_coefficients_are_found() -> None:
    x, _, w = problem(400)
    planted = np.array([1.5, -0.7, 0.2])
    assert fit(x, sigmoid(x @ planted), w[:400]) == pytest.approx(planted, abs=1e-6)


def test_what_nothing_bounds_stays_finite() -> None:
    """All won, and two equal columns."""
    x = np.ones((5, 2))
    b = fit(x, np.ones(5), np.ones(5))
    assert np.isfinite(b).all() and sigmoid(x @ b)[0] > 0.999
    assert np.isfinite(losses(x, np.ones(5), np.array([800.0, -1600.0]))).all()


def test_the_spread_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(size=200)
    error, low, high = spread(lambda counts: float(counts @ values) / 200, values, 0, 2000)
    assert error == pytest.approx(values.std() / 200**0.5, rel=0.06)
    assert low < values.mean() < high and high - low == pytest.approx(3.92 * error, rel=0.1)
    assert np.isnan(spread(lambda counts: 1.0, values[:1], 0, 10)).all()


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_a_spread_is_that_of_a_mean_of_few(n: int) -> None:
    """Of n - 1 drawn: its variance is the unbiased one of a mean."""
    values = np.random.default_rng(n).random(n)
    error, _, _ = spread(lambda counts: float(counts @ values) / n, values, 0, 20_000)
    assert error == pytest.approx(values.std(ddof=1) / n**0.5, rel=0.03)


@pytest.mark.parametrize("won", [0.0, 0.5, 1.0])
def test_all_alike_is_no_certainty(won: float) -> None:
    """As a mean of such cells has it, whatever a fit adds in its last digits."""
    y = np.full(5, won)
    wanted = estimate(y, bounds=(0, 1)).interval
    assert spread(lambda counts: float(counts @ y) / 5, y, 0, 50)[1:] == pytest.approx(wanted)
    found = spread(lambda counts: won + 1e-6 * float(counts[0] - 1), y, 0, 50)
    assert found[1:] == pytest.approx(wanted, abs=1e-5)
    alike = spread(lambda counts: won, np.linspace(0, 1, 5), 0, 50)
    assert alike[1:] == pytest.approx(wanted)
