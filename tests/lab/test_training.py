"""Training in the lab: every arm by its own gradient, measured exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.lab.fleet import Drawn, Exact, draws, stacked
from bvrank.lab.moments import candidates, gradients, moments
from bvrank.lab.options import Training
from bvrank.lab.policy import gradient
from bvrank.lab.scoring import flat, shaped
from bvrank.lab.training import Arm, Measures, curvature, lanczos, merged, trained
from tests.lab.small import small

WORLDS = [small(0), small(1)]
SETTINGS = Training(seeds=2, steps=4, every=2, rate=0.25, adamw=0.003, rules=["sgd"], traces=3)


@lru_cache
def measures() -> Measures:
    return Measures(WORLDS, Exact(WORLDS))


@lru_cache
def behind(rule: str = "sgd") -> dict[str, Arm]:
    rate = torch.full((2,), 0.002, dtype=torch.float64)
    return trained(measures(), SETTINGS, rule, rate, [5, 6], lambda: None)  # type: ignore[arg-type]


def test_the_exact_arm_descends_the_true_loss() -> None:
    arm = behind()["exact"]
    vector = flat(WORLDS[1].start)
    for _ in range(SETTINGS.steps):
        vector = vector - 0.002 * gradient(WORLDS[1], shaped(vector, WORLDS[1].start))
    assert torch.allclose(flat(arm.weights, 1)[1], vector, rtol=0, atol=1e-12)
    assert all(b < a for a, b in zip(arm.course.loss[:-1], arm.course.loss[1:], strict=True)
               for a, b in zip(a, b, strict=True))  # fmt: skip


def test_g_e_and_exact_draw_nothing_and_the_others_do() -> None:
    rate = torch.full((2,), 0.002, dtype=torch.float64)
    other = trained(measures(), SETTINGS, "sgd", rate, [8, 9], lambda: None)
    for name, arm in behind().items():
        same = torch.equal(flat(arm.weights, 1), flat(other[name].weights, 1))
        assert same == (name in ("g_e", "exact")), name


def test_steps_err_by_the_mean_squared_error_that_is_told() -> None:
    """Of a mix, over many draws from the start of one world."""
    world, n = WORLDS[0], 200
    m = moments(gradients(world, candidates(world, world.start)))
    alpha = torch.full((n,), 0.4, dtype=torch.float64)
    own = {k: w.requires_grad_() for k, w in stacked([world.start] * n).items()}
    index = draws([world] * n, 1, [torch.Generator().manual_seed(s) for s in range(n)])
    losses = Drawn([world] * n, 1).mixed(own, index, alpha)
    found = torch.autograd.grad(losses.sum(), list(own.values()))
    slopes = flat(dict(zip(own, found, strict=True)), 1)
    errors = (slopes - m.mu).square().sum(-1)
    assert abs(errors.mean() - m.mse(alpha[:1])[0]).item() < 4 * errors.std().item() / n**0.5


def test_what_is_measured_on_the_way_is_measured_right() -> None:
    for name in ("g_t", "alpha*"):
        course = behind()[name].course
        assert course.steps == [0, 1, 2, 3, 4]
        assert course.points == ([0, 2, 4] if name == "alpha*" else [0, 2])
    arm = behind()["alpha*"]
    end = {k: w[1].detach() for k, w in arm.weights.items()}
    m = moments(gradients(WORLDS[1], candidates(WORLDS[1], end)))
    assert float(arm.course.alpha[-1][1]) == pytest.approx(m.alpha(), abs=1e-10)
    at = torch.tensor(m.alpha(), dtype=torch.float64)
    assert float(arm.course.bias2[-1][1]) == pytest.approx(float(m.bias2(at)), rel=1e-10)
    assert float(arm.course.variance[-1][1]) == pytest.approx(float(m.variance(at)), rel=1e-10)
    assert torch.equal(arm.alpha, arm.course.alpha[-1])


def test_adamw_is_torchs_own_and_is_measured_where_it_is_due() -> None:
    arm = behind("adamw")["exact"]
    assert arm.course.steps == [0, 2, 4]
    own = {n: w.detach().clone().requires_grad_() for n, w in WORLDS[0].start.items()}
    optimizer = torch.optim.AdamW(list(own.values()), lr=0.002)
    for _ in range(SETTINGS.steps):
        optimizer.zero_grad()
        WORLDS[0].loss(own).mean().backward()
        optimizer.step()
    assert torch.allclose(flat(arm.weights, 1)[0], flat(own), rtol=0, atol=1e-9)


def test_worlds_apart_train_as_together() -> None:
    rate = torch.full((1,), 0.002, dtype=torch.float64)
    alone = [trained(Measures([w], Exact([w])), SETTINGS, "sgd", rate, [s], lambda: None)
             for w, s in zip(WORLDS, (5, 6), strict=True)]  # fmt: skip
    for name, arm in behind().items():
        whole = merged([found[name].course for found in alone])
        assert (whole.steps, whole.points) == (arm.course.steps, arm.course.points)
        for a, b in zip(whole.loss, arm.course.loss, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_lanczos_finds_the_largest_eigenvalue_from_below() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(2, 12, 12, generator=generator, dtype=torch.float64)
    matrix = base + base.transpose(1, 2)
    true = torch.linalg.eigvalsh(matrix).abs().amax(-1)
    start = torch.randn(2, 12, generator=generator, dtype=torch.float64)

    def product(vector: torch.Tensor) -> torch.Tensor:
        return (matrix @ vector[..., None])[..., 0]

    found = [lanczos(product, start, k) for k in (2, 6, 12)]
    assert all((f <= true + 1e-9).all() for f in found)
    assert torch.allclose(found[-1], true)


def test_lanczos_on_what_is_no_number_is_no_number_and_spares_its_neighbours() -> None:
    start = torch.ones(2, 3, dtype=torch.float64)
    scale = torch.tensor([[2.0], [math.nan]], dtype=torch.float64)
    found = lanczos(lambda v: v * scale, start, 3)  # whose powers span one direction
    assert float(found[0]) == pytest.approx(2.0)
    assert math.isnan(found[1])


def test_an_arm_that_diverges_runs_to_its_end_with_no_number() -> None:
    rate = torch.tensor([1e200, 0.002], dtype=torch.float64)
    found = trained(measures(), SETTINGS, "sgd", rate, [5, 6], lambda: None)
    for name, arm in found.items():
        assert math.isnan(arm.course.loss[-1][0]), name
        assert torch.equal(arm.course.loss[-1][1], behind()[name].course.loss[-1][1])
    assert math.isnan(found["alpha*"].course.alpha[-1][0])
    assert curvature(measures().exact, found["exact"].weights).isfinite().tolist() == [False, True]


def test_curvature_is_that_of_the_loss() -> None:
    world, exact = WORLDS[0], measures().exact
    own = stacked([w.start for w in WORLDS])
    found = curvature(exact, own, 12)
    slope = exact.gradients(own)[1]
    along = slope / slope.norm(dim=-1, keepdim=True)
    step = 1e-4
    ends = [exact.gradients(shaped(flat(own, 1) + s * along, world.start))[1]
            for s in (-step, step)]  # fmt: skip
    rayleigh = ((ends[1] - ends[0]) / (2 * step) * along).sum(-1).abs()
    assert (found >= rayleigh * (1 - 1e-4)).all()
    assert (curvature(exact, own, 2) <= found * (1 + 1e-9)).all()


def test_settings_out_of_range() -> None:
    for name, value in (("seeds", 1), ("steps", 0), ("every", 3), ("rate", 0.0), ("adamw", -1.0),
                        ("rules", []), ("traces", 1), ("rules", ["sgd", "sgd"])):  # fmt: skip
        with pytest.raises(ConfigError):
            replace(SETTINGS, **{name: value})
