"""A world: reference, prompts, pairs; and policies at a chosen distance from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bvrank.lab.scoring import Score, Table, Weights, flat, shaped
from bvrank.lab.shape import BareFrom, Direction
from bvrank.lab.side import pause
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
    parts: Sequence[TokenBatch]  # of `batch`, some prompts each

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
        return torch.cat(list(self.losses(weights)))

    def losses(self, weights: Weights) -> Iterator[Tensor]:
        """`loss` of the prompts of each part, one after another."""
        known = iter(torch.split(self.reference, [p.labels.valid.shape[1] for p in self.parts], 1))
        for part in self.parts:
            pause()
            both = self.score(weights, part)[0], next(known)[0]
            sums = [v.view(len(v), 2, -1).logsumexp(-1)[None] for v in both]
            pair = {name: v[1:, :, :2] for name, v in vars(part.labels).items()}
            given = {"policy": sums[0], "reference": sums[1]}
            yield DPO(beta=self.beta)(Preferences(**pair | given)).loss[0]

    def divergence(self, policy: Tensor) -> tuple[Tensor, Tensor]:
        """KL(pi_ref(r|x,y) || pi(r|x,y)) in the mean over the pairs' answers, and under the same
        traces the root of the mean square of log pi_ref(r,y|x) - log pi(r,y|x): nats."""
        before, now = self.of_traces(self.reference), self.of_traces(policy)
        apart = before.log_softmax(-1) - now.log_softmax(-1)
        kl = (self.posterior * apart).sum(-1).mean().clamp(min=0.0)  # below 0 by rounding alone
        return kl, (self.posterior * (before - now).square()).sum(-1).mean().sqrt()


def world(score: Score, beta: float, bare_from: BareFrom, seed: int) -> World:
    """The world of `seed`: reference weights, pairs."""
    start = score.start(seed)
    pairs = drawn_pairs(*score.answers(start), bare_from, seed)
    parts = score.parts(pairs)
    batch = parts[0] if len(parts) == 1 else score.every(pairs)
    with torch.no_grad():
        reference = torch.cat([score(start, part) for part in parts], 1)
    tables = score.table(pairs, FULL), score.table(pairs, BARE)
    return World(score, beta, start, pairs, batch, reference, *tables, parts)


def moved(world: World, distance: float, direction: Direction, seed: int) -> dict[str, Tensor]:
    """The reference's weights moved by `distance` times their norm: along a random direction, or in
    short strides down the gradient of L_m, as far as there is one."""
    vector = flat(world.start)
    whole = distance * vector.norm()
    if direction == "random" or distance == 0:
        generator = torch.Generator().manual_seed(seed)
        step = torch.randn(vector.shape, generator=generator, dtype=vector.dtype)
        return shaped(vector + whole * step / step.norm(), world.start)
    for _ in range(STRIDES):
        slope = gradient(world, shaped(vector, world.start))
        largest = slope.abs().max()
        if largest == 0:  # saturated: nothing leads any further
            break
        slope = slope / largest  # its norm is a number, however small it is
        vector = vector - whole / STRIDES * slope / slope.norm()
    return shaped(vector, world.start)


def gradient(world: World, weights: Weights) -> Tensor:
    """mu [P]: of the mean of L_m, by autograd through scorer and objective."""
    own = {n: w.detach().requires_grad_() for n, w in weights.items()}
    total = torch.zeros(world.score.shape.weights, dtype=torch.float64)
    for losses in world.losses(own):
        found = torch.autograd.grad(losses.sum() / len(world.reference[0]), list(own.values()))
        total += flat(dict(zip(own, found, strict=True)))
    return total
