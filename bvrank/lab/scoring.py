"""Log-probs of the lab's candidates, and their gradients, by the scorer that trains.

`Weights` are the scorer's parameters by name. torch.func calls the scorer with them, and maps it
over candidates where each one's gradient is wanted alone, or over a stack of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from bvrank.lab.shape import Shape
from bvrank.lab.side import pause
from bvrank.lab.world import Language, Pairs, model
from bvrank.records import BARE, FULL, Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.scorer import Scorer

NUMBERS = 2**24  # float64 at a time, about, where candidates are differentiated or scored
Weights = Mapping[str, Tensor]
VIEWS = (FULL, BARE)


def flat(weights: Weights, axes: int = 0) -> Tensor:
    """All weights as one vector [...,P]; `axes` in front stay."""
    return torch.cat([w.flatten(axes) for w in weights.values()], -1)


def shaped(vector: Tensor, like: Weights) -> dict[str, Tensor]:
    """`vector` [...,P] as weights with the names and shapes of `like`, those of one model."""
    parts = torch.split(vector, [w.numel() for w in like.values()], -1)
    front = vector.shape[:-1]
    return {n: p.reshape(*front, *w.shape) for (n, w), p in zip(like.items(), parts, strict=True)}


@dataclass(frozen=True)
class Table:
    """Candidates of one length, a row of ids [...,T] and of scored tokens [...,M] to each."""

    ids: Tensor
    target: Tensor


class Score:
    """The scorer of a shape, its weights given from outside."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.language = shape, Language(shape)
        self.scorer = Scorer(model(shape, 0), chunk=None)

    def start(self, seed: int) -> dict[str, Tensor]:
        """The random weights of `seed`."""
        scorer = Scorer(model(self.shape, seed), chunk=None)
        return {name: p.detach() for name, p in scorer.named_parameters()}

    def __call__(self, weights: Weights, batch: TokenBatch) -> Tensor:
        """Log-probs [V,B,K]."""
        found: Tensor = functional_call(self.scorer, dict(weights), (batch,))
        return found

    def every(self, pairs: Pairs) -> TokenBatch:
        """All `trees`: V=2, B=N, K=2R. The traces of the better answer stand first."""
        return self.batch(self.trees(pairs))

    def parts(self, pairs: Pairs) -> list[TokenBatch]:
        """`every`, as many prompts at a time as memory bears; one of them at the least."""
        return [self.batch(self._trees(g, pairs.full, pairs.bare)) for g in self.groups(2)]

    def groups(self, answers: int) -> list[range]:
        """Prompts that are scored together, each with so many answers behind every trace."""
        own = answers * self.shape.traces * self.shape.each
        n, some = self.shape.prompts, max(1, 4 * NUMBERS // own)
        return [range(i, min(n, i + some)) for i in range(0, n, some)]

    def batch(self, trees: Sequence[Encoded], views: Sequence[str] = VIEWS) -> TokenBatch:
        """The trees as rows, one to each candidate."""
        return Collator("padded")([[Row(t)] for t in trees], views)

    def answers(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """pi(y|x) [N,A], traces summed out, and with the trace disabled [N,A]."""
        letters = np.arange(self.shape.alphabet)
        sides, without = [], []
        for prompts in self.groups(len(letters)):
            trees = self._trees(prompts, *[np.tile(letters, (self.shape.prompts, 1))] * 2)
            with torch.no_grad():
                full, bare = self(weights, self.batch(trees))
            sides.append(full.view(len(trees), len(letters), self.shape.traces).logsumexp(-1))
            without.append(bare[:, : len(letters)])
        return torch.cat(sides).exp(), torch.cat(without).exp()

    def table(self, pairs: Pairs, view: str) -> Table:
        """The candidates of a view: axes [N,2,R] of full, [N,2] of bare."""
        trees = [_only(t, view) for t in self.trees(pairs)]
        rows = self.batch(trees, (view,)).rows[0]
        front = (self.shape.prompts, 2, *((self.shape.traces,) if view == FULL else ()))
        return Table(rows.ids.view(*front, -1), rows.target.view(*front, -1))

    def each(self, weights: Weights, table: Table, view: str) -> tuple[Tensor, Tensor]:
        """The log-prob of every candidate [...] and its gradient [...,P], each on its own."""
        single = self._singles[view]

        def one(own: dict[str, Tensor], ids: Tensor, target: Tensor) -> Tensor:
            rows = replace(single.rows[0], ids=ids[None], target=target)
            return self(own, replace(single, rows=(rows,))).sum()

        ids, target = table.ids.flatten(0, -2), table.target.flatten(0, -2)
        values = torch.empty(len(ids), dtype=torch.float64)
        found = torch.empty(len(ids), self.shape.weights, dtype=torch.float64)
        some = max(1, NUMBERS // (self.shape.each + 3 * self.shape.weights))
        for first in range(0, len(ids), some):
            pause()
            part = slice(first, first + some)
            slopes, values[part] = vmap(grad_and_value(one), (None, 0, 0))(
                dict(weights), ids[part], target[part]
            )
            found[part] = flat(slopes, 1)
        front = table.ids.shape[:-1]
        return values.view(front), found.view(*front, -1)

    def shared(self, pairs: Pairs) -> TokenBatch:
        """A tree of each trace, both answers of the pair behind it, a row to each: V=1, B=N*R,
        K=2. Half the tokens of `every`."""
        grown = [
            _only(self.language.tree(i, full, full, [trace[None]] * 2), FULL)
            for i, full in enumerate(pairs.full)
            for trace in self.language.traces
        ]
        # A token costs so much that sharing pays, a mask so much that no two trees share a row.
        return Collator("masked", Cost(30.0, 1.0))([[Row(t)] for t in grown], (FULL,))

    def trees(self, pairs: Pairs) -> list[Encoded]:
        """A tree of each prompt: every trace before each answer of its pair, and its answers
        without."""
        return self._trees(range(self.shape.prompts), pairs.full, pairs.bare)

    def _trees(self, prompts: range, full: np.ndarray, bare: np.ndarray) -> list[Encoded]:
        found = []
        for i in prompts:
            pause()
            every = [self.language.traces] * len(full[i])
            found.append(self.language.tree(i, full[i], bare[i], every))
        return found

    @cached_property
    def _singles(self) -> dict[str, TokenBatch]:
        """A batch of one candidate, by view."""
        first = np.zeros(1, np.int64)
        tree = self.language.tree(0, first, first, [self.language.traces[:1]])
        return {v: self.batch([_only(tree, v)], (v,)) for v in VIEWS}


def _only(tree: Encoded, view: str) -> Encoded:
    return replace(tree, branches=tuple(b for b in tree.branches if b.view == view))
