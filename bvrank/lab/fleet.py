"""Many worlds of one shape at once: the scorer mapped over a stack of weights.

A stack has an axis W in front of every weight, a model to each world. Objectives see the worlds'
prompts one after another on axis B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from bvrank.lab.policy import World
from bvrank.lab.scoring import Weights, flat
from bvrank.objectives import kernels
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import BARE, FULL, Preferences, TokenBatch


def stacked(weights: Sequence[Weights]) -> dict[str, Tensor]:
    """One model after another on a new first axis."""
    return {name: torch.stack([w[name] for w in weights]) for name in weights[0]}


def single(weights: Weights, number: int) -> dict[str, Tensor]:
    """Model `number` of a stack."""
    return {name: w[number] for name, w in weights.items()}


class Rows:
    """The batches of all worlds, which differ in ids alone."""

    def __init__(self, batches: Sequence[TokenBatch]) -> None:
        self.first = batches[0]
        self.ids = torch.stack([b.rows[0].ids for b in batches])  # [W,n,T]
        self.target = torch.stack([b.rows[0].target for b in batches])  # [W,M]

    def scored(self, world: World, weights: Weights, ids: Tensor, target: Tensor) -> Tensor:
        """Log-probs [W,V,B,K] of a stack."""

        def one(own: dict[str, Tensor], ids: Tensor, target: Tensor) -> Tensor:
            rows = replace(self.first.rows[0], ids=ids, target=target)
            return world.score(own, replace(self.first, rows=(rows,)))

        found: Tensor = vmap(one)(dict(weights), ids, target)
        return found


class Exact:
    """L_m of every world: DPO on log pi(y|x), the traces summed out first."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.worlds = worlds
        self.rows = Rows([w.score.shared(w.pairs) for w in worlds])
        pairs = [kernels.one_view(w.batch.labels, 1) for w in worlds]
        two = {name: torch.cat([vars(p)[name][..., :2] for p in pairs], 1)
               for name in vars(pairs[0])}  # fmt: skip
        reference = torch.cat([w.of_traces(w.reference).logsumexp(-1) for w in worlds])
        self.known = Preferences(**two | {"reference": reference[None]})

    def losses(self, weights: Weights) -> Tensor:
        """[W], in the graph of `weights`."""
        first, rows = self.worlds[0], self.rows
        found = rows.scored(first, weights, rows.ids, rows.target)  # [W,1,N*R,2]
        w, n = len(self.worlds), first.score.shape.prompts
        policy = found.view(1, w * n, -1, 2).logsumexp(2)
        outcome = DPO(beta=first.beta)(replace(self.known, policy=policy))
        return outcome.loss.view(w, n).mean(-1)

    def gradients(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """L_m [W] and its gradient [W,P]."""
        own = {n: w.detach().requires_grad_() for n, w in weights.items()}
        losses = self.losses(own)
        found = torch.autograd.grad(losses.sum(), list(own.values()))
        return losses.detach(), flat(dict(zip(own, found, strict=True)), 1)


class Drawn:
    """Losses of every world on `size` drawn traces to each answer, and on the answers without."""

    def __init__(self, worlds: Sequence[World], size: int) -> None:
        self.worlds, self.size, self.views = worlds, size, (FULL, BARE)
        score = worlds[0].score
        traces = np.resize(score.language.traces, (size, score.shape.length))
        self.rows = Rows([score.batch([
            score.language.tree(i, full, bare, [traces] * 2)
            for i, (full, bare) in enumerate(zip(w.pairs.full, w.pairs.bare, strict=True))
        ]) for w in worlds])  # fmt: skip
        self.full = stacked([{"ids": w.full.ids, "target": w.full.target} for w in worlds])
        first = self.rows.first
        self.drawn = first.rows[0].owner < first.labels.valid[0].numel()  # targets of view full
        references = [self._references(w) for w in worlds]
        self.reference, self.bare = (torch.stack(part) for part in zip(*references, strict=True))
        each = vars(first.labels).items()
        self.labels = Preferences(**{n: v.repeat(1, len(worlds), 1) for n, v in each})

    def prefs(self, weights: Weights, index: Tensor) -> Preferences:
        """What an objective sees [2,W*N,2S] of traces `index` [W,N,2,S]."""
        w, n, _, s = index.shape
        first = self.worlds[0]
        ids, target = self.rows.ids.clone(), self.rows.target.clone()
        ids.view(w, n, 2 * s + 2, -1)[:, :, : 2 * s] = self._picked("ids", index).flatten(2, 3)
        target[:, self.drawn] = self._picked("target", index).flatten(1)
        policy = self.rows.scored(first, weights, ids, target)  # [W,2,N,2S]
        full = self.reference.gather(-1, index).flatten(2)
        reference = torch.stack([full, self.bare], 1)
        return replace(self.labels, policy=_in_a_row(policy), reference=_in_a_row(reference))

    def mixed(self, weights: Weights, index: Tensor, alpha: Tensor) -> Tensor:
        """BVPO's loss [W], each world with its own `alpha` [W]."""
        objective = BVPO(alpha=0.5, beta=self.worlds[0].beta)
        terms = objective(self.prefs(weights, index)).terms["loss"]  # [2,W*N], without shares
        full, bare = terms.view(2, len(alpha), -1).mean(-1)
        mix: Tensor = alpha * full + (1 - alpha) * bare
        return mix

    def averaged(self, weights: Weights, index: Tensor) -> Tensor:
        """The S-trace marginal's loss [W]."""
        full = kernels.one_view(self.prefs(weights, index), 0)
        return Marginal(beta=self.worlds[0].beta)(full).loss.view(len(index), -1).mean(-1)

    def _picked(self, name: str, index: Tensor) -> Tensor:
        """Rows of ids or targets [W,N,2,S,.]."""
        source = self.full[name]
        places = index[..., None].expand(*index.shape, source.shape[-1])
        return source.gather(3, places)

    def _references(self, world: World) -> tuple[Tensor, Tensor]:
        """[N,2,R] of view full, [N,2S] of view bare, filled up with zeros."""
        bare = world.of_bare(world.reference)
        return world.of_traces(world.reference), torch.nn.functional.pad(
            bare, (0, 2 * self.size - 2)
        )


def draws(worlds: Sequence[World], size: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Indices [W,N,2,S] of traces from pi_ref(r|x,y), each world out of its own generator."""
    found = []
    for world, generator in zip(worlds, generators, strict=True):
        chances = world.posterior.flatten(0, 1)
        drawn = torch.multinomial(chances, size, replacement=True, generator=generator)
        found.append(drawn.view(*world.posterior.shape[:2], size))
    return torch.stack(found)


def _in_a_row(values: Tensor) -> Tensor:
    """[W,V,N,K] as [V,W*N,K]."""
    return values.transpose(0, 1).flatten(1, 2)
