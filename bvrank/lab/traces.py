"""Bias and variance of the S-trace marginal against the number of traces S.

S = 1 is exact (it is g_t). Larger S are drawn: the gradient less its first-order expansion around
mu, whose mean is mu exactly, is averaged, so that the noise falls as fast as the bias does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bvrank.lab.moments import Candidates, Gradients, moments, trace_pairs
from bvrank.lab.policy import World
from bvrank.lab.side import pause
from bvrank.objectives import kernels
from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import Preferences

GROUPS = 16  # of draws, for the standard error
CELLS = 2**17  # of [draws,2S,2S] at a time
MANY = 8  # traces


@dataclass(frozen=True)
class Estimator:
    """Of the gradient of one step on every prompt, S traces an answer: |bias|^2 less what noise
    adds to it, its standard error, the trace of its covariance, and the bias of the loss with its
    standard error. `draws` 0: exact."""

    traces: int
    bias2: float
    stderr: float
    variance: float
    loss_bias: float
    loss_stderr: float
    draws: int

    @property
    def bias(self) -> float:
        """|bias|."""
        return math.sqrt(max(self.bias2, 0.0))


@dataclass(frozen=True)
class _Drawn:
    """Draws of a prompt: `rest` [G,2R], the groups' means of the coefficients less their
    expansion; `square` and `mean` of the coefficients; the losses' rest [G]."""

    rest: Tensor
    square: float
    mean: Tensor
    loss: Tensor


def estimators(world: World, found: Candidates, exact: Gradients, sizes: Sequence[int],
               draws: int, seed: int) -> list[Estimator]:  # fmt: skip
    """One for each of `sizes` (S). `draws` to each prompt, in proportion fewer where S is more than
    MANY: an estimate out of more traces is less noisy."""
    return [
        _exact(world, found, exact) if s == 1 else
        _estimated(world, found, s, _rounded(draws * min(1.0, MANY / s)), seed)
        for s in sizes
    ]  # fmt: skip


def _rounded(draws: float) -> int:
    return max(2, round(draws / GROUPS)) * GROUPS


def _exact(world: World, found: Candidates, exact: Gradients) -> Estimator:
    """S = 1, all pairs of traces."""
    mean = moments(exact)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(len(exact.mu)):
        pause()
        prefs = kernels.one_view(trace_pairs(world, found.policy, i), 0)
        weight = torch.cartesian_prod(*world.posterior[i]).prod(-1)
        loss += weight @ DPO(beta=world.beta)(prefs).loss[0]
    ideal = Marginal(beta=world.beta)(world.marginal(found.policy)).loss.mean()
    return Estimator(1, float(mean.b_t @ mean.b_t), 0.0, mean.s_t,
                     float(loss / len(exact.mu) - ideal), 0.0, 0)  # fmt: skip


def _estimated(world: World, found: Candidates, size: int, draws: int, seed: int) -> Estimator:
    n = len(found.full)
    generator = torch.Generator().manual_seed(seed)
    rests, losses, variance = [], [], 0.0
    for i in range(n):
        own = found.full[i].flatten(0, 1)  # [2R,P]
        drawn = _drawn(world, found.policy, i, own @ own.T, size, draws, generator)
        rests.append(drawn.rest @ own)
        losses.append(drawn.loss)
        mean = drawn.mean @ own
        variance += (drawn.square - float(mean @ mean)) * draws / (draws - 1)
    rest, loss = torch.stack(rests).mean(0), torch.stack(losses).mean(0)  # [G,P], [G]
    bias2, stderr = _squared(rest)
    return Estimator(size, bias2, stderr, variance / n**2, float(loss.mean()),
                     float(loss.std()) / math.sqrt(len(loss)), draws)  # fmt: skip


def _squared(groups: Tensor) -> tuple[float, float]:
    """|E v|^2 out of independent means [G,P], without the noise's own share, and its standard error
    by leaving one group out."""
    total, count = groups.sum(0), len(groups)

    def unbiased(whole: Tensor, own: Tensor, n: int) -> Tensor:
        return (whole @ whole - own) / (n * (n - 1))  # the mean of v_i . v_j over i != j

    squares = groups.square().sum(-1)
    value = unbiased(total, squares.sum(), count)
    without = torch.stack(
        [
            unbiased(total - v, squares.sum() - q, count - 1)
            for v, q in zip(groups, squares, strict=True)
        ]
    )
    spread = (without - without.mean()).square().sum() * (count - 1) / count
    return float(value), float(spread.sqrt())


def _drawn(world: World, policy: Tensor, prompt: int, gram: Tensor, size: int, draws: int,
           generator: torch.Generator) -> _Drawn:  # fmt: skip
    near = _Expansion(world, policy, prompt)
    index = _indices(world.posterior[prompt], draws, size, generator)  # [M,2,S]
    parts = []
    for part in torch.split(index, max(1, CELLS // (2 * size) ** 2)):
        pause()
        parts.append(_coefficients(world, policy, prompt, part))
    found, losses = (torch.cat(part) for part in zip(*parts, strict=True))  # [M,2R], [M]
    linear, line = near(index)
    rest = (found - linear).view(GROUPS, -1, found.shape[-1]).mean(1)
    square = float(((found @ gram) * found).sum()) / draws
    return _Drawn(rest, square, found.mean(0), (losses - line).view(GROUPS, -1).mean(1))


def _indices(posterior: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    drawn = [torch.multinomial(p, count * size, replacement=True, generator=generator)
             for p in posterior]  # fmt: skip
    return torch.stack([d.view(count, size) for d in drawn], 1)


def _coefficients(world: World, policy: Tensor, prompt: int, index: Tensor
                  ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """dL / d log pi [M,2R] of the objective Marginal on the drawn traces [M,2,S], and its loss."""
    m, _, s = index.shape
    r = world.posterior.shape[-1]
    place = (index + torch.tensor([0, r])[None, :, None]).view(m, 2 * s)
    known = replace(world.batch.labels, policy=policy, reference=world.reference)
    rows = {name: value[0, prompt][place][None] for name, value in vars(known).items()}
    own = rows["policy"].detach().requires_grad_()
    outcome = Marginal(beta=world.beta)(Preferences(**{**rows, "policy": own}))
    (found,) = torch.autograd.grad(outcome.loss.sum(), own)
    spread = torch.zeros(m, 2 * r, dtype=torch.float64).scatter_add_(1, place, found[0])
    return spread, outcome.loss[0].detach()


class _Expansion:
    """First order in the sampling error X = mean_i u_i - 1 of each side, where u is pi / pi_ref
    over its mean. E X = 0, and u weighs a drawn trace to pi(r|x,y) in the mean: that of the whole
    is mu. Kept apart from the objective, it can only move noise."""

    def __init__(self, world: World, policy: Tensor, prompt: int) -> None:
        chance = world.posterior[prompt]  # [2,R]
        ratio = (world.of_traces(policy) - world.of_traces(world.reference))[prompt]
        whole = (chance.log() + ratio).logsumexp(-1, keepdim=True)  # log Z [2,1]
        self.u = (ratio - whole).exp()
        self.posterior = (chance.log() + ratio).softmax(-1)  # pi(r|x,y)
        gap = world.beta * float(whole[0] - whole[1])
        self.beta, self.loss = world.beta, math.log1p(math.exp(-abs(gap))) + max(-gap, 0.0)
        self.first = -1 / (1 + math.exp(min(gap, 700.0)))  # dL / d gap
        self.second = -self.first * (1 + self.first)

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [M,2R] and losses [M] of the drawn traces [M,2,S]."""
        m, _, s = index.shape
        r = self.u.shape[-1]
        u = torch.stack([self.u[side][index[:, side]] for side in (0, 1)], 1)  # [M,2,S]
        x = u.mean(-1) - 1  # [M,2]
        drawn = torch.zeros(m, 2, r, dtype=torch.float64).scatter_add_(2, index, u / s)
        own = drawn - x[..., None] * self.posterior
        moved = self.second * self.beta * (x[:, 0] - x[:, 1])
        sides = self.first * own + moved[:, None, None] * self.posterior
        signs = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None]
        line = self.loss + self.first * self.beta * (x[:, 0] - x[:, 1])
        return (self.beta * signs * sides).flatten(1), line
