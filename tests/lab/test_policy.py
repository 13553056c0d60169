"""Policies stand where they are asked for."""

from __future__ import annotations

import pytest
import torch

from bvrank.lab import scoring
from bvrank.lab.policy import gradient, moved, world
from bvrank.lab.scoring import flat, shaped
from bvrank.objectives.marginal import Marginal
from tests.lab.small import measured, policy, score, small


@pytest.mark.parametrize("direction", ["random", "descent"])
def test_a_policy_is_as_far_as_asked(direction: str) -> None:
    own = small()
    vector = flat(own.start)
    away = flat(moved(own, 0.01, direction, 5)) - vector  # type: ignore[arg-type]
    if direction == "random":
        assert float(away.norm() / vector.norm()) == pytest.approx(0.01, rel=1e-9)
    else:  # no stride is longer, all together may bend
        assert float(away.norm() / vector.norm()) <= 0.01 * (1 + 1e-9)
    assert torch.equal(flat(moved(own, 0.0, direction, 5)), vector)  # type: ignore[arg-type]


def test_descent_lowers_the_loss_and_random_directions_differ() -> None:
    own = small()
    down = moved(own, 0.01, "descent", 0)
    with torch.no_grad():
        assert float(own.loss(down).mean()) < float(own.loss(own.start).mean()) - 0.05
    assert not torch.equal(flat(moved(own, 0.1, "random", 1)), flat(moved(own, 0.1, "random", 2)))


def test_the_loss_is_ln_2_at_the_reference_and_that_of_marginal_everywhere() -> None:
    own = small()
    with torch.no_grad():
        assert own.loss(own.start).tolist() == pytest.approx([0.6931471805599453] * 2, abs=1e-12)
        found = Marginal(beta=own.beta)(own.marginal(score()(policy(), own.batch))).loss[0]
        assert own.loss(policy()).tolist() == pytest.approx(found.tolist(), abs=1e-12)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    own, weights = small(), policy()
    slope, step = gradient(own, weights), 1e-6
    along = slope / slope.norm()
    with torch.no_grad():
        ends = [float(own.loss(shaped(flat(weights) + s * along, weights)).mean())
                for s in (-step, step)]  # fmt: skip
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(float(slope.norm()), rel=1e-6)


def test_divergence_is_zero_at_the_reference_alone() -> None:
    own = small()
    assert [float(v) for v in own.divergence(own.reference)] == [0.0, 0.0]
    kl, rms = own.divergence(measured()[0].policy)
    assert float(rms) > float(kl) > 0


@pytest.mark.parametrize("distance", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_kl_is_that_of_the_posteriors_of_traces(distance: float, seed: int) -> None:
    own, policy = small(seed), measured(distance, seed)[0].policy
    kl = float(own.divergence(policy)[0])
    total = 0.0
    for n in range(2):
        for side in (0, 1):
            joint = [own.of_traces(v)[n, side].exp() for v in (own.reference, policy)]
            p, q = (j / j.sum() for j in joint)
            total += float((p * (p / q).log()).sum()) / 4
    assert kl == pytest.approx(total, abs=1e-12)
    assert kl >= 0.0 and (kl == 0.0) == (distance == 0.0)


def test_prompts_in_parts_are_prompts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    own = small()
    monkeypatch.setattr(scoring, "NUMBERS", 1)
    cut = world(score(), own.beta, "fresh", 0)
    assert (len(own.parts), len(cut.parts)) == (1, 2)
    assert torch.allclose(cut.reference, own.reference, rtol=0, atol=1e-13)
    assert (cut.pairs.full == own.pairs.full).all() and (cut.pairs.bare == own.pairs.bare).all()
    with torch.no_grad():
        assert torch.allclose(cut.loss(policy()), own.loss(policy()), rtol=0, atol=1e-13)
    assert torch.allclose(gradient(cut, policy()), gradient(own, policy()), rtol=0, atol=1e-12)


def test_posteriors_are_those_of_bayes() -> None:
    own = small()
    sides = own.of_traces(own.reference).exp()
    assert torch.allclose(own.posterior, sides / sides.sum(-1, keepdim=True), atol=1e-14)
