"""The S-trace marginal: its bias falls as 1/S, and what is drawn agrees with what is exact."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from bvrank.lab import traces
from bvrank.lab.moments import candidates, gradients, moments
from bvrank.lab.policy import moved
from bvrank.lab.tables import RISING, slope
from bvrank.lab.traces import Estimator, estimators
from tests.lab.small import measured, policy, small


@pytest.fixture(scope="module")
def found() -> list[Estimator]:
    own = small()
    weights = moved(own, 0.03, "random", 2)
    known = candidates(own, weights)
    return estimators(own, known, gradients(own, known), (1, 2, 4, 8, 16, 32), 2048, 0)


def test_the_bias_falls_as_1_over_s(found: list[Estimator]) -> None:
    late = [e for e in found if e.traces >= RISING]
    assert slope([(e.traces, e.bias) for e in late]) == pytest.approx(-1, abs=0.15)
    assert slope([(e.traces, abs(e.loss_bias)) for e in late]) == pytest.approx(-1, abs=0.15)
    assert slope([(e.traces, e.variance) for e in late]) == pytest.approx(-1, abs=0.15)
    assert all(e.stderr < 0.3 * e.bias2 for e in late)


def test_one_trace_is_exact_and_agrees_with_draws() -> None:
    own, (known, exact) = small(), measured()
    (one,) = estimators(own, known, exact, (1,), 64, 0)
    m = moments(exact)
    assert (one.bias2, one.variance, one.draws) == (float(m.b_t @ m.b_t), m.s_t, 0)
    drawn = traces._estimated(own, known, 1, 4096, 1)
    assert abs(drawn.bias2 - one.bias2) < 4 * drawn.stderr
    assert abs(drawn.loss_bias - one.loss_bias) < 4 * drawn.loss_stderr
    assert drawn.variance == pytest.approx(one.variance, rel=0.15)


def test_two_traces_agree_with_an_enumeration_of_all_quadruples() -> None:
    """Of one prompt in a world that is cut to its first 5 traces."""
    own, (known, _) = small(), measured()
    near = traces._Expansion(own, known.policy, 0)
    places = torch.cartesian_prod(*[torch.arange(5)] * 4).view(-1, 2, 2)
    coefficients, losses = traces._coefficients(own, known.policy, 0, places)
    ratio = (own.of_traces(known.policy) - own.of_traces(own.reference))[0]
    s = torch.stack([ratio[i][places[:, i]].logsumexp(-1) - math.log(2) for i in (0, 1)], -1)
    gap = own.beta * (s[:, 0] - s[:, 1])
    assert torch.allclose(losses, torch.nn.functional.softplus(-gap), atol=1e-12)
    assert torch.allclose(coefficients.sum(1), torch.zeros(len(gap), dtype=torch.float64))
    linear, _ = near(places)
    assert linear.shape == coefficients.shape


def test_the_expansion_has_the_mean_of_the_true_gradient() -> None:
    own, (known, exact) = small(), measured()
    for prompt in (0, 1):
        near = traces._Expansion(own, known.policy, prompt)
        r = own.posterior.shape[-1]
        every = torch.cartesian_prod(torch.arange(r), torch.arange(r)).unsqueeze(-1)  # S = 1
        chance = torch.cartesian_prod(*own.posterior[prompt]).prod(-1)
        linear, line = near(every)
        mean = chance @ linear @ known.full[prompt].flatten(0, 1)
        assert torch.allclose(mean, exact.mu[prompt], rtol=0, atol=1e-11)
        with torch.no_grad():
            loss = float(own.loss(policy())[prompt])
        assert float(chance @ line) == pytest.approx(loss, abs=1e-12)


def test_a_square_out_of_groups_has_no_noise_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    values = []
    for _ in range(400):
        noise = torch.randn(16, 3, generator=generator, dtype=torch.float64)
        values.append(traces._squared(truth + 3 * noise))
    mean = sum(v for v, _ in values) / len(values)
    sd = math.sqrt(sum((v - mean) ** 2 for v, _ in values) / len(values))
    assert mean == pytest.approx(5.25, abs=4 * sd / 20)
    assert sum(e for _, e in values) / len(values) == pytest.approx(sd, rel=0.15)


def test_more_traces_than_many_are_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    own, (known, exact) = small(), measured()
    true: Callable[..., Estimator] = traces._estimated

    def noted(world: object, found: object, size: int, draws: int, seed: int) -> Estimator:
        seen.append((size, draws))
        return true(world, found, size, 64, seed)

    monkeypatch.setattr(traces, "_estimated", noted)
    estimators(own, known, exact, (2, 8, 32), 1024, 0)
    assert seen == [(2, 1024), (8, 1024), (32, 256)]


def test_slopes_of_powers() -> None:
    assert slope([(s, 3 / s**2) for s in (1, 2, 4)]) == pytest.approx(-2)
    assert math.isnan(slope([(2, 1.0)]))
    assert slope([(1, 1.0), (2, 0.5), (4, 0.0)]) == pytest.approx(-1)
