"""Many worlds at once are those worlds one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bvrank.lab.fleet import Drawn, Exact, draws, single, stacked
from bvrank.lab.policy import gradient, moved
from bvrank.lab.scoring import flat
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import Preferences
from tests.lab.small import SHAPE, score, small

WORLDS = [small(0), small(1), small(2)]
AWAY = [moved(w, 0.05, "random", i) for i, w in enumerate(WORLDS)]


def slopes(loss: Tensor, own: dict[str, Tensor]) -> Tensor:
    found = torch.autograd.grad(loss.sum(), list(own.values()))
    return flat(dict(zip(own, found, strict=True)), 1)


def traces(index: Tensor, number: int) -> Tensor:
    """Candidates [N,2S] of view full."""
    return (index[number] + torch.tensor([0, SHAPE.traces])[None, :, None]).flatten(1)


def seen(number: int, place: Tensor, policy: Tensor) -> Preferences:
    """Of a world the candidates `place` [N,K] of view full, and both of view bare."""
    world = WORLDS[number]
    known = replace(world.batch.labels, policy=policy, reference=world.reference)
    both = torch.stack([place, torch.arange(place.shape[1]).expand_as(place)])
    return Preferences(**{name: v.gather(-1, both) for name, v in vars(known).items()})


def test_true_losses_and_gradients() -> None:
    losses, found = Exact(WORLDS).gradients(stacked(AWAY))
    for i, world in enumerate(WORLDS):
        with torch.no_grad():
            assert float(losses[i]) == pytest.approx(float(world.loss(AWAY[i]).mean()), abs=1e-12)
        assert torch.allclose(found[i], gradient(world, AWAY[i]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_mix_is_bvpo_on_the_drawn_traces(alpha: float) -> None:
    index = draws(WORLDS, 3, [torch.Generator().manual_seed(i) for i in range(3)])[..., :1]
    own = {n: w.requires_grad_() for n, w in stacked(AWAY).items()}
    shares = torch.full((3,), alpha, dtype=torch.float64)
    losses = Drawn(WORLDS, 1).mixed(own, index, shares)
    found = slopes(losses, own)
    for i in range(3):
        weights = {n: w.detach().requires_grad_() for n, w in AWAY[i].items()}
        prefs = seen(i, traces(index, i), score()(weights, WORLDS[i].batch))
        objective = BVPO(alpha=alpha, beta=WORLDS[i].beta)
        views = [v for v, name in enumerate(("full", "bare")) if name in objective.views]
        kept = Preferences(**{n: v[views] for n, v in vars(prefs).items()})
        loss = objective(kept).loss.mean(-1).sum()
        assert losses[i].item() == pytest.approx(loss.item(), abs=1e-12)
        told = torch.autograd.grad(loss, list(weights.values()))
        alone = flat(dict(zip(weights, told, strict=True)))
        assert torch.allclose(found[i], alone, rtol=0, atol=1e-12)


def test_several_traces_are_the_marginal_on_them() -> None:
    index = draws(WORLDS, 5, [torch.Generator().manual_seed(i) for i in range(3)])
    losses = Drawn(WORLDS, 5).averaged(stacked(AWAY), index)
    for i in range(3):
        prefs = seen(i, traces(index, i), score()(AWAY[i], WORLDS[i].batch))
        full = Preferences(**{n: v[:1] for n, v in vars(prefs).items()})
        loss = Marginal(beta=WORLDS[i].beta)(full).loss.mean()
        assert losses[i].item() == pytest.approx(loss.item(), abs=1e-12)


def test_draws_follow_the_posterior_each_world_by_its_own_seed() -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(s) for s in seeds]

    many = draws(WORLDS[:1], 20_000, generators(0))[0]
    counts = torch.nn.functional.one_hot(many, SHAPE.traces).double().mean(-2)
    assert torch.allclose(counts, WORLDS[0].posterior, atol=0.02)
    both, alone = draws(WORLDS[:2], 4, generators(7, 8)), draws(WORLDS[1:2], 4, generators(8))
    assert torch.equal(both[1], alone[0])
    assert torch.equal(single({"x": both}, 1)["x"], alone[0])
