"""A world: reference, prompts, pairs; and policies at a chosen distance from the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bvrank.lab.scoring import Score, Table, Weights, flat, shaped
from bvrank.lab.shape import BareFrom, Direction
from bvrank.lab.world import Pairs, drawn_pairs
from bvrank.objectives import kernels
from bvrank.objectives.dpo import DPO
from bvrank.records import BARE, FULL, Preferences, TokenBatch

STRIDES = 10  # of a descent to a distance


@dataclass(frozen=True)
class World:
    """One reference with its data. `batch` holds every candidate, `reference` [2,N,2R] its
    log-probs, `full` and `bare` its ids."""

    score: Score
    beta: float
    start: Weights
    pairs: Pairs
    batch: TokenBatch
    reference: Tensor
    full: Table
    bare: Table

    @cached_property
    def posterior(self) -> Tensor:
        """pi_ref(r|x,y) [N,2,R] for the answers of D_t: what traces are drawn from."""
        return self.of_traces(self.reference).softmax(-1)

    def of_traces(self, values: Tensor) -> Tensor:
        """[2,N,2R] as [N,2,R]: of view full, by side and trace."""
        n = self.score.shape.prompts
        return values[0].view(n, 2, -1)

    def of_bare(self, values: Tensor) -> Tensor:
        """[2,N,2R] as [N,2]: of view bare, by side."""
        return values[1, :, :2]

    def marginal(self, policy: Tensor) -> Preferences:
        """What `Marginal` takes to sum over all traces exactly: the mean of pi / pi_ref' over the R
        traces of y is pi(y|x) / pi_ref(y|x) where pi_ref'(r,y|x) = pi_ref(y|x) / R."""
        sides = self.of_traces(self.reference)
        level = sides.logsumexp(-1, keepdim=True) - torch.tensor(float(sides.shape[-1])).log()
        reference = level.expand_as(sides).reshape(1, *self.reference.shape[1:])
        return replace(
            kernels.one_view(self.batch.labels, 0), policy=policy[:1], reference=reference
        )

    def loss(self, weights: Weights) -> Tensor:
        """L_m of every prompt [N], in the graph of `weights`: DPO on log pi(y|x)."""
        sums = [self.of_traces(v).logsumexp(-1)[None]
                for v in (self.score(weights, self.batch), self.reference)]  # fmt: skip
        pair = {name: v[1:, :, :2] for name, v in vars(self.batch.labels).items()}
        given = {"policy": sums[0], "reference": sums[1]}
        return DPO(beta=self.beta)(Preferences(**pair | given)).loss[0]

    def divergence(self, policy: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of log pi_ref - log pi over traces of the pairs' answers, weighted by pi_ref(r|x,y),
        and the root of the mean of its square: nats per candidate."""
        gap = self.of_traces(self.reference) - self.of_traces(policy)
        mean = (self.posterior * gap).sum(-1).mean()
        return mean, (self.posterior * gap.square()).sum(-1).mean().sqrt()


def world(score: Score, beta: float, bare_from: BareFrom, seed: int) -> World:
    """The world of `seed`: reference weights, pairs."""
    start = score.start(seed)
    pairs = drawn_pairs(*score.answers(start), bare_from, seed)
    batch = score.every(pairs)
    with torch.no_grad():
        reference = score(start, batch)
    tables = score.table(pairs, FULL), score.table(pairs, BARE)
    return World(score, beta, start, pairs, batch, reference, *tables)


def moved(world: World, distance: float, direction: Direction, seed: int) -> dict[str, Tensor]:
    """The reference's weights moved by `distance` times their norm: along a random direction, or in
    short strides down the gradient of L_m."""
    vector = flat(world.start)
    whole = distance * vector.norm()
    if direction == "random" or distance == 0:
        generator = torch.Generator().manual_seed(seed)
        step = torch.randn(vector.shape, generator=generator, dtype=vector.dtype)
        return shaped(vector + whole * step / step.norm(), world.start)
    for _ in range(STRIDES):
        slope = gradient(world, shaped(vector, world.start))
        vector = vector - whole / STRIDES * slope / slope.norm()
    return shaped(vector, world.start)


def gradient(world: World, weights: Weights) -> Tensor:
    """mu [P]: of the mean of L_m, by autograd through scorer and objective."""
    own = {n: w.detach().requires_grad_() for n, w in weights.items()}
    found = torch.autograd.grad(world.loss(own).mean(), list(own.values()))
    return flat(dict(zip(own, found, strict=True)))
