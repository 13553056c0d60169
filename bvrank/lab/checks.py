"""What the theory says, held against exact figures: each check with its largest violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bvrank.lab.check import Check
from bvrank.lab.moments import Candidates, Gradients, Moments, mixed, sensitivity
from bvrank.lab.policy import World
from bvrank.lab.scoring import VIEWS, Weights, flat
from bvrank.lab.world import model
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import Preferences
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.scorer import Scorer

ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)
FINE = 1e-6  # between the alphas of the search for the smallest MSE
COARSE = 201  # of a curve
WEIGHTS = (0.1, 0.5, 1.0)  # eta L of theorem 4; at 1 its alpha is alpha*


def argmin(moments: Moments, c: float = 1.0) -> float:
    """The alpha of a grid in [0,1], FINE apart, at which the MSE (its variance times `c`) is least;
    the grid is looked at around the least of a coarse one."""
    coarse = 1000
    grid = torch.linspace(0, 1, coarse + 1, dtype=torch.float64)
    near = float(grid[moments.mse(grid, c).argmin()])
    apart = round(1 / coarse / FINE)
    grid = near + FINE * torch.arange(-apart, apart + 1, dtype=torch.float64)
    grid = grid[(grid >= 0) & (grid <= 1)]
    return float(grid[moments.mse(grid, c).argmin()])


def on_variance(world: World, found: Candidates, gradients: Gradients, mean: Moments
                ) -> Iterator[Check]:  # fmt: skip
    """Theorem 1, and the MSE of theorem 2: BVPO's gradient enumerated against the closed forms."""
    n = len(gradients.mu)
    for alpha in ALPHAS:
        means, squares = mixed(world, found, alpha)
        variance = float((squares - means.square().sum(-1)).sum()) / n**2
        ratio = variance / (alpha**2 * mean.s_t)
        yield Check("1", "Var(g_c) / (alpha^2 Var(g_t)) = 1", abs(ratio - 1), 1e-10)
        bias = means.mean(0) - mean.mu
        told = float(mean.mse(torch.tensor(alpha, dtype=torch.float64)))
        mse = float(bias @ bias) + variance
        yield Check("2", "MSE(alpha) as enumerated = closed form", abs(mse / told - 1), 1e-10)


def on_minimum(m: Moments) -> Iterator[Check]:
    """Theorem 2, the rest, and theorem 4."""
    a, star = m.minimum(), m.alpha()
    at = torch.tensor([star, 1.0, 0.0, a], dtype=torch.float64)
    best, t, e, free = m.mse(at).tolist()
    whole = max(t, e)
    yield Check("2", "alpha* = argmin over a grid", abs(star - argmin(m)), 1e-6)
    yield Check("2", "MSE(alpha*) <= both ends", max(best - min(t, e), 0) / whole, 1e-12)
    for name, gap, told in (("g_t", t - free, (1 - a) ** 2), ("g_e", e - free, a**2)):
        says = f"MSE({name}) - MSE(a) = closed form"
        yield Check("2", says, abs(gap - told * m.apart()) / whole, 1e-10)
    for c in WEIGHTS:
        says = "at eta L = c, alpha_c = argmin of B^2 + c sigma^2"
        yield Check("4", says, abs(m.alpha(c) - argmin(m, c)), 1e-6)


def at_reference(mean: Moments) -> Check:
    """E g_t = mu where the policy is the reference."""
    return Check("", "at the reference b_t = 0", float(mean.b_t.abs().max() / mean.mu.abs().max()),
                 1e-10)  # fmt: skip


def on_algebra(world: World, weights: Weights, found: Candidates, gradients: Gradients, seed: int
               ) -> Iterator[Check]:  # fmt: skip
    """The sums over candidates against plain autograd through the packed forest and the objectives:
    mu, and BVPO on one drawn pair of traces."""
    product = _Product(world, weights)
    own = gradients.mu.mean(0)
    whole = product.gradient(Marginal(beta=world.beta), world.marginal)
    says = "mu = autograd through the packed forest"
    yield Check("", says, float((own - whole).abs().max() / own.abs().max()), 1e-10)
    generator = torch.Generator().manual_seed(seed)
    n, _, r = world.posterior.shape
    drawn = torch.multinomial(world.posterior.view(-1, r), 1, generator=generator).view(n, 2)
    place = drawn + torch.tensor([0, r])
    for alpha in (0.3, 0.5):

        def pairs(policy: Tensor) -> Preferences:
            return _picked(replace(world.batch.labels, policy=policy, reference=world.reference),
                           place)  # fmt: skip

        objective = BVPO(alpha=alpha, beta=world.beta)
        whole = product.gradient(objective, pairs)
        parts = sensitivity(objective, pairs(found.policy))
        chosen = found.full[torch.arange(n)[:, None], torch.arange(2)[None], drawn]  # [N,2,P]
        own = torch.einsum("ns,nsp->p", parts[0], chosen) / n
        own = own + torch.einsum("ns,nsp->p", parts[1], found.bare) / n
        says = "BVPO's gradient = autograd through the packed forest"
        yield Check("", says, float((own - whole).abs().max() / own.abs().max()), 1e-10)


def _picked(prefs: Preferences, place: Tensor) -> Preferences:
    """Of view full the candidates `place` [N,2], of view bare its two."""
    bare = torch.tensor([0, 1]).expand_as(place)
    where = torch.stack([place, bare])
    names = vars(prefs)
    return Preferences(**{name: names[name].gather(-1, where) for name in names})


class _Product:
    """The scorer as a run has it: packed forest, head in chunks, plain autograd."""

    def __init__(self, world: World, weights: Weights) -> None:
        score = world.score
        own = model(score.shape, 0)
        own.set_attn_implementation("sdpa")
        self.scorer = Scorer(own)
        self.scorer.load_state_dict(dict(weights))
        trees = score.trees(world.pairs)
        self.batch = Collator("forest")([[Row(t)] for t in trees], VIEWS)

    def gradient(self, objective: Any, seen: Any) -> Tensor:
        prefs = seen(self.scorer(self.batch))
        outcome = objective(prefs)
        loss = (outcome.loss.sum(-1) / outcome.count.sum(-1)).sum()
        found = torch.autograd.grad(loss, list(self.scorer.parameters()))
        return flat(dict(zip(map(str, range(len(found))), found, strict=True)))
