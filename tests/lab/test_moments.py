"""Exact moments: the paper's theorems on them, and brute force over every pair of traces."""

from __future__ import annotations

import math

import pytest
import torch

from bvrank.lab import moments as lab_moments
from bvrank.lab.checks import argmin
from bvrank.lab.moments import (
    Moments,
    candidates,
    gradients,
    mixed,
    moments,
    sensitivity,
    trace_pairs,
)
from bvrank.lab.policy import gradient
from bvrank.objectives import kernels
from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import Marginal
from tests.lab.small import measured, policy, small

DISTANCES = (0.0, 0.05, 0.2)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_theorem_1_the_variance_ratio_is_alpha_squared(distance: float, alpha: float) -> None:
    found, exact = measured(distance)
    means, squares = mixed(small(), found, alpha)
    variance = float((squares - means.square().sum(-1)).sum()) / len(means) ** 2
    assert variance / moments(exact).s_t == pytest.approx(alpha**2, abs=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("given", ["data", "prompt", "independent"])
def test_theorem_2_alpha_star_is_the_argmin_and_dominates(distance: float, given: str) -> None:
    m = moments(measured(distance)[1], given, 2)  # type: ignore[arg-type]
    assert m.alpha() == pytest.approx(argmin(m), abs=1e-6)
    a = m.minimum()
    best, t, e, free = m.mse(f64(m.alpha(), 1, 0, a)).tolist()
    assert best <= min(t, e)
    assert t - free == pytest.approx((1 - a) ** 2 * m.apart(), rel=1e-9)
    assert e - free == pytest.approx(a**2 * m.apart(), rel=1e-9)


def test_the_trace_gradient_has_no_bias_at_the_reference_and_some_elsewhere() -> None:
    at, away = moments(measured(0.0)[1]), moments(measured(0.1)[1])
    assert float(at.b_t.abs().max()) < 1e-10
    assert float(away.b_t.norm()) > 1e-3
    told = at.b_e @ at.b_e
    assert at.minimum() == pytest.approx(float(told / (told + at.s_t)), rel=1e-10)


def test_mu_is_the_gradient_of_the_marginal_loss() -> None:
    _, exact = measured()
    assert torch.allclose(exact.mu.mean(0), gradient(small(), policy()), rtol=0, atol=1e-12)


def test_moments_are_those_of_every_pair_of_traces_one_by_one() -> None:
    own, (found, exact) = small(), measured()
    chance = torch.cartesian_prod(*own.posterior[1]).prod(-1)
    prefs = kernels.one_view(trace_pairs(own, found.policy, 1), 0)
    s = own.beta * (prefs.policy - prefs.reference)[0]
    pull = -own.beta * torch.sigmoid(s[:, 1] - s[:, 0])  # dL / d log pi of the better
    places = torch.cartesian_prod(torch.arange(64), torch.arange(64))
    full = found.full[1]
    each = pull[:, None] * (full[0][places[:, 0]] - full[1][places[:, 1]])  # [R*R,P]
    assert torch.allclose(chance @ each, exact.trace[1], rtol=0, atol=1e-12)
    assert float(chance @ each.square().sum(-1)) == pytest.approx(float(exact.square[1]), rel=1e-12)
    loss = DPO(beta=own.beta)(prefs).loss[0]
    assert torch.allclose(loss, -torch.nn.functional.logsigmoid(s[:, 0] - s[:, 1]))


def test_batches_of_drawn_prompts_have_the_moments_of_an_enumeration() -> None:
    exact = measured()[1]
    n = len(exact.mu)
    apart = [(i, j) for i in range(n) for j in range(n)]
    for given, shift in (("prompt", [(i, i) for i in range(n)]), ("independent", apart)):
        m = moments(exact, given, 1)  # type: ignore[arg-type]
        alpha, total = 0.3, 0.0
        for i, j in shift:
            # E |alpha g_t + (1 - alpha) g_e - mu|^2 over the traces of prompt i
            rest = (1 - alpha) * exact.bare[j] - exact.mu.mean(0)
            total += float(alpha**2 * exact.square[i] + 2 * alpha * exact.trace[i] @ rest
                           + rest @ rest)  # fmt: skip
        assert total / len(shift) == pytest.approx(float(m.mse(f64(alpha))[0]), rel=1e-12)


def test_equal_gradients_want_no_mix_and_the_weight_counts_for_variance_alone() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    assert Moments(zero, zero, zero, 0.0, 0.0, 0.0).alpha() == 1.0
    lost = Moments(zero, zero * torch.nan, zero, 0.0, 0.0, 0.0)
    assert math.isnan(lost.minimum()) and math.isnan(lost.alpha())
    m = Moments(zero, f64(1, 0), f64(0, 2), 3.0, 0.0, 0.0)
    assert m.minimum(0.0) == pytest.approx(4 / 5)
    assert m.minimum(2.0) == pytest.approx(4 / 11)
    assert m.mse(f64(1.0), 2.0)[0] == pytest.approx(1 + 2 * 3)


def test_sensitivities_in_chunks_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    own, (found, exact) = small(), measured()
    whole = sensitivity(Marginal(beta=own.beta), own.marginal(found.policy))
    means, squares = mixed(own, found, 0.3)
    paused = list[None]()
    monkeypatch.setattr(lab_moments, "PAIRS", 1000)
    monkeypatch.setattr(lab_moments, "pause", lambda: paused.append(None))
    assert torch.equal(sensitivity(Marginal(beta=own.beta), own.marginal(found.policy)), whole)
    assert len(paused) == 2, "a prompt at a time"
    again, others = mixed(own, found, 0.3)
    assert torch.allclose(again, means, rtol=0, atol=1e-13)
    assert torch.allclose(others, squares, rtol=1e-13)
    assert torch.allclose(gradients(own, found).mu, exact.mu, rtol=0, atol=1e-13)
    assert len(paused) > 100


def test_answers_without_traces_of_their_own_can_be_those_with_them() -> None:
    own = small(1, "reuse")
    assert (own.pairs.full == own.pairs.bare).all()
    found = candidates(own, own.start)
    assert gradients(own, found).bare.shape == gradients(own, found).mu.shape
