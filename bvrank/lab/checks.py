"""What the theory says, held against exact figures: each check with its largest violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bvrank.lab.check import Check
from bvrank.lab.moments import PAIRS, Candidates, Gradients, Moments, mixed, sensitivity
from bvrank.lab.policy import World
from bvrank.lab.scoring import VIEWS, Weights
from bvrank.lab.side import pause
from bvrank.lab.world import model
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import Preferences
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.scorer import Scorer

ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)
FINE = 1e-6  # between the alphas of the search for the smallest MSE
COARSE = 201  # of a curve
FLOOR = 1e-4  # of E |g_t|^2: a variance below it is a difference of nearly equal numbers
ROUNDING = 1e-15
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
    square = float(gradients.square.sum()) / n**2
    for alpha in ALPHAS:
        means, squares = mixed(world, found, alpha)
        variance = float((squares - means.square().sum(-1)).sum()) / n**2
        off = _share(abs(variance - alpha**2 * mean.s_t), alpha**2 * max(mean.s_t, FLOOR * square))
        yield Check("1", "Var(g_c) / (alpha^2 Var(g_t)) = 1", off, 1e-10)
        bias = means.mean(0) - mean.mu
        told = float(mean.mse(torch.tensor(alpha, dtype=torch.float64)))
        off = _share(abs(float(bias @ bias) + variance - told), max(told, FLOOR * square))
        yield Check("2", "MSE(alpha) as enumerated = closed form", off, 1e-10)


def on_minimum(m: Moments) -> Iterator[Check]:
    """Theorem 2, the rest, and theorem 4."""
    a, star = m.minimum(), m.alpha()
    at = torch.tensor([star, 1.0, 0.0, a], dtype=torch.float64)
    best, t, e, free = m.mse(at).tolist()
    whole = max(t, e)
    yield Check("2", "alpha* = argmin over a grid", _beside(m, star), 1e-6)
    yield Check("2", "MSE(alpha*) <= both ends", _share(_above(best, min(t, e)), whole), 1e-12)
    for name, gap, told in (("g_t", t - free, (1 - a) ** 2), ("g_e", e - free, a**2)):
        says = f"MSE({name}) - MSE(a) = closed form"
        yield Check("2", says, _share(abs(gap - told * m.apart()), whole), 1e-10)
    for c in WEIGHTS:
        says = "at eta L = c, alpha_c = argmin of B^2 + c sigma^2"
        yield Check("4", says, _beside(m, m.alpha(c), c), 1e-6)


def _beside(m: Moments, alpha: float, c: float = 1.0) -> float:
    """How far `alpha` is from the argmin: 0 where the two are equally good but for rounding, which
    is so where the MSE hardly depends on alpha."""
    least = argmin(m, c)
    own, other, one, zero = m.mse(torch.tensor([alpha, least, 1.0, 0.0], dtype=torch.float64), c)
    flat = abs(own - other) <= ROUNDING * max(one, zero)
    off = abs(alpha - least)
    return 0.0 if flat and off > FINE else off


def _share(error: float, scale: float) -> float:
    """`error` as a share of `scale`; by itself where there is none."""
    return error / scale if scale > 0 else error


def _above(value: float, limit: float) -> float:
    """By how much; NaN stays NaN."""
    return 0.0 if value <= limit else value - limit


def _apart(own: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest entry."""
    return _share(float((own - other).abs().max()), float(own.abs().max()))


def at_reference(mean: Moments) -> Check:
    """E g_t = mu where the policy is the reference."""
    off = _share(float(mean.b_t.abs().max()), float(mean.mu.abs().max()))
    return Check("", "at the reference b_t = 0", off, 1e-10)


def on_algebra(world: World, weights: Weights, found: Candidates, gradients: Gradients, seed: int
               ) -> Iterator[Check]:  # fmt: skip
    """The sums over candidates against plain autograd through the packed forest and the objectives:
    mu, and BVPO on one drawn pair of traces."""
    product = _Product(world, weights)
    own = gradients.mu.mean(0)
    whole = product.gradient(Marginal(beta=world.beta), world.marginal)
    says = "mu = autograd through the packed forest"
    yield Check("", says, _apart(own, whole), 1e-10)
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
        yield Check("", says, _apart(own, whole), 1e-10)


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
        self.scorer, self.prompts = Scorer(own), score.shape.prompts
        self.scorer.load_state_dict(dict(weights))
        trees, most = score.trees(world.pairs), PAIRS // (2 * score.shape.traces) ** 2
        some = max(1, min(most, len(score.groups(2)[0])))
        self.parts = [Collator("forest")([[Row(t)] for t in trees[i : i + some]], VIEWS)
                      for i in range(0, len(trees), some)]  # fmt: skip

    def gradient(self, objective: Any, seen: Any) -> Tensor:
        """Of the mean over all prompts, some at a time."""
        given, first, total = list(self.scorer.parameters()), 0, torch.zeros(())
        rest = torch.zeros(2, self.prompts, self.parts[0].labels.valid.shape[-1])
        for part in self.parts:
            pause()
            here = slice(first, first := first + part.labels.valid.shape[1])
            policy = rest.double()
            policy[:, here] = self.scorer(part)
            outcome = objective(_rows(seen(policy), here))
            mean = (outcome.loss.sum(-1) / outcome.count.sum(-1)).sum()
            share = part.labels.valid.shape[1] / self.prompts
            found = torch.autograd.grad(share * mean, given)
            total = total + torch.cat([f.flatten() for f in found])
        return total


def _rows(prefs: Preferences, here: slice) -> Preferences:
    return Preferences(**{name: value[:, here] for name, value in vars(prefs).items()})
