"""Exact means and covariances of the gradients, and what follows from them (arXiv 2510.05095).

dL/d theta = sum over candidates of (dL / d log pi) * grad log pi: the first factor by autograd
through the objective, the second through the scorer. So the gradients of all R^2 pairs of traces of
a prompt are combinations of 2R, and their moments are exact sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bvrank.lab.policy import World
from bvrank.lab.scoring import Weights
from bvrank.lab.side import pause
from bvrank.objectives import kernels
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import BARE, FULL, Outcome, Preferences

PAIRS = 2**21  # of candidates, at a time
Given = Literal["data", "prompt", "independent"]  # what a step's batch leaves to chance


@dataclass(frozen=True)
class Gradients:
    """Of each prompt: mu, E g_t and g_e [N,P], E |g_t|^2 [N] over the traces."""

    mu: Tensor
    trace: Tensor
    square: Tensor
    bare: Tensor


@dataclass(frozen=True)
class Moments:
    """Of the gradient of one step: biases [P], and the traces of S_t, S_e and S_te."""

    mu: Tensor
    b_t: Tensor
    b_e: Tensor
    s_t: float
    s_e: float
    s_te: float

    def bias2(self, alpha: Tensor) -> Tensor:
        """|alpha b_t + (1 - alpha) b_e|^2."""
        t, e, te = self.b_t @ self.b_t, self.b_e @ self.b_e, self.b_t @ self.b_e
        return alpha**2 * t + (1 - alpha) ** 2 * e + 2 * alpha * (1 - alpha) * te

    def variance(self, alpha: Tensor) -> Tensor:
        """tr Cov(g_c)."""
        mixed = 2 * alpha * (1 - alpha) * self.s_te
        return alpha**2 * self.s_t + (1 - alpha) ** 2 * self.s_e + mixed

    def mse(self, alpha: Tensor, c: float = 1.0) -> Tensor:
        """E |g_c - mu|^2, or, with every covariance times `c`, the floor of theorem 4."""
        return self.bias2(alpha) + c * self.variance(alpha)

    def apart(self, c: float = 1.0) -> float:
        """E |g_t - g_e|^2."""
        gap = self.b_t - self.b_e
        return float(gap @ gap) + c * (self.s_t + self.s_e - 2 * self.s_te)

    def minimum(self, c: float = 1.0) -> float:
        """a, unclipped; 1 where g_t and g_e never differ, NaN where they are not finite."""
        above = c * (self.s_e - self.s_te) + float(self.b_e @ (self.b_e - self.b_t))
        apart = self.apart(c)
        return 1.0 if apart <= 0 else above / apart

    def alpha(self, c: float = 1.0) -> float:
        """alpha* = clip(a, 0, 1); NaN where a is."""
        a = self.minimum(c)
        return a if math.isnan(a) else min(1.0, max(0.0, a))


def sensitivity(objective: Callable[[Preferences], Outcome], prefs: Preferences) -> Tensor:
    """dL / d log pi [V,B,K] for the loss of each row of `prefs`."""
    v, _, k = prefs.policy.shape
    some = max(1, PAIRS // (v * k**2))
    found: list[Tensor] = []
    for part in zip(*(getattr(prefs, f.name).split(some, 1) for f in fields(prefs)), strict=True):
        pause()
        rows = Preferences(*part)
        policy = rows.policy.detach().requires_grad_()
        loss = objective(replace(rows, policy=policy)).loss
        found += torch.autograd.grad(loss.sum(), policy)
    return torch.cat(found, 1)


def trace_pairs(world: World, policy: Tensor, prompt: int) -> Preferences:
    """Every pair of traces of a prompt's two answers as a row [2,R*R,2]: the pair in view full, the
    prompt's one pair in view bare."""

    def paired(values: Tensor) -> Tensor:
        rows = torch.cartesian_prod(*world.of_traces(values)[prompt])
        return torch.stack([rows, world.of_bare(values)[prompt].expand_as(rows)])

    known = replace(world.batch.labels, policy=policy, reference=world.reference)
    return Preferences(**{f.name: paired(getattr(known, f.name)) for f in fields(known)})


@dataclass(frozen=True)
class Candidates:
    """What is known of every candidate under some weights: log-probs `policy` [2,N,2R], and their
    gradients, `full` [N,2,R,P] and `bare` [N,2,P]."""

    policy: Tensor
    full: Tensor
    bare: Tensor


def candidates(world: World, weights: Weights) -> Candidates:
    """Scored and differentiated one by one."""
    with torch.no_grad():
        values, full = world.score.each(weights, world.full, FULL)
        disabled, bare = world.score.each(weights, world.bare, BARE)
    sides = values.flatten(1)
    filled = torch.nn.functional.pad(disabled, (0, sides.shape[-1] - 2))
    return Candidates(torch.stack([sides, filled]), full, bare)


def gradients(world: World, found: Candidates) -> Gradients:
    """Exact, through the objectives DPO and, for mu, Marginal over every trace."""
    dpo, marginal = DPO(beta=world.beta), Marginal(beta=world.beta)
    means, squares = _moved_by(world, found, dpo)
    exact = sensitivity(marginal, world.marginal(found.policy))[0]
    labels = replace(world.batch.labels, policy=found.policy, reference=world.reference)
    disabled = sensitivity(dpo, kernels.one_view(labels, 1))[0, :, :2]
    return Gradients(torch.einsum("nsr,nsrp->np", exact.view(found.full.shape[:3]), found.full),
                     means, squares, torch.einsum("ns,nsp->np", disabled, found.bare))  # fmt: skip


def mixed(world: World, found: Candidates, alpha: float) -> tuple[Tensor, Tensor]:
    """E g_c [N,P] and E |g_c|^2 [N] over the traces, 0 < alpha < 1: not from g_t and g_e, but from
    the objective BVPO on every pair of traces."""
    return _moved_by(world, found, BVPO(alpha=alpha, beta=world.beta))


def _moved_by(world: World, found: Candidates, objective: Any) -> tuple[Tensor, Tensor]:
    """Mean [N,P] and mean square [N] of the objective's gradient over pairs of traces."""
    n, _, r, _ = found.full.shape
    means, squares = [], []
    for i in range(n):
        prefs = trace_pairs(world, found.policy, i)
        each = sensitivity(objective, _seen(prefs, objective.views))
        mean, square = _over_pairs(each[0].view(r, r, 2), world.posterior[i], found.full[i])
        if len(each) > 1:  # the bare view is the same in every pair
            own = each[1, 0] @ found.bare[i]
            mean, square = mean + own, square + 2 * mean @ own + own @ own
        means.append(mean)
        squares.append(square)
    return torch.stack(means), torch.stack(squares)


def _seen(prefs: Preferences, views: tuple[str, ...]) -> Preferences:
    return prefs if len(views) > 1 else kernels.one_view(prefs, 0)


def _over_pairs(each: Tensor, chance: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
    """E g [P] and E |g|^2 of g = each[r,r',0] G+_r + each[r,r',1] G-_r' under the two posteriors
    `chance` [2,R]; G [2,R,P]."""
    weight = chance[0][:, None] * chance[1][None]  # [R,R]
    better, worse = (weight * each[..., 0]).sum(1), (weight * each[..., 1]).sum(0)
    squares = full.square().sum(-1)  # [2,R]
    cross = full[0] @ full[1].T
    total = each[..., 0] ** 2 * squares[0][:, None] + each[..., 1] ** 2 * squares[1][None]
    total = total + 2 * each[..., 0] * each[..., 1] * cross
    return better @ full[0] + worse @ full[1], (weight * total).sum()


def moments(found: Gradients, given: Given = "data", batch: int = 1) -> Moments:
    """Of a step's gradient. data: every prompt, one pair of traces drawn for each; prompt: `batch`
    prompts drawn, both views on the same ones; independent: each view on its own."""
    mu, trace, bare = found.mu.mean(0), found.trace.mean(0), found.bare.mean(0)
    b_t, b_e = trace - mu, bare - mu
    n = len(found.mu)
    if given == "data":
        own = found.square - found.trace.square().sum(-1)
        return Moments(mu, b_t, b_e, float(own.sum()) / n**2, 0.0, 0.0)
    s_t = float(found.square.mean() - trace @ trace) / batch
    s_e = float(found.bare.square().sum(-1).mean() - bare @ bare) / batch
    s_te = float((found.trace * found.bare).sum(-1).mean() - trace @ bare) / batch
    return Moments(mu, b_t, b_e, s_t, s_e, s_te if given == "prompt" else 0.0)
