"""Lists on a shared prompt: one packed tree against a row for each item.

forest   the tree: the prompt once, the items below it, head on the items' tokens
causal   one causal sequence of as many tokens and as many scored: what no layout can beat
rows     a row per item, head on the items' tokens
dense    a row per item, logits of every position: what a plain model call does

A step is forward and backward of the items' log-probs; a loss over the list costs nothing beside
that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bvrank.bench.rounds import Step
from bvrank.bench.work import settle
from bvrank.engines.local import Precision, autocast
from bvrank.errors import ModelError
from bvrank.records import FULL, Branch, Encoded, Segment, TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Layout
from bvrank.scoring.scorer import Scorer, cost_of, packing

Parts = list[Callable[[], Tensor]]  # forwards that make a step
ARMS = ("forest", "causal", "rows", "dense")
TOLERANCE = 1e-4  # nats per token in fp32, between the arms that score the same
NARROW_TOLERANCE = 0.1  # the same in bf16


@dataclass(frozen=True)
class Cell:
    """One setting: `items` of `item_tokens` tokens below a prompt of `prompt` tokens."""

    items: int
    prompt: int
    item_tokens: int

    @property
    def unique(self) -> int:
        """Tokens of the tree."""
        return self.prompt + self.items * self.item_tokens

    @property
    def repeated(self) -> int:
        """Tokens of a row per item."""
        return self.items * (self.prompt + self.item_tokens)

    def tree(self, vocabulary: int, seed: int) -> Encoded:
        """The list."""
        return list_of(vocabulary, self.items, self.prompt, self.item_tokens, seed)


def list_of(vocabulary: int, items: int, prompt: int, item: int, seed: int) -> Encoded:
    """Random ids; the first item is the relevant one."""
    rng = np.random.default_rng((seed, items, prompt))

    def segment(parent: int, tokens: int) -> Segment:
        return Segment(parent, rng.integers(0, vocabulary, tokens).astype(np.int32))

    segments = (segment(-1, prompt), *(segment(0, item) for _ in range(items)))
    branches = tuple(Branch(FULL, (k + 1,), float(k == 0), k + 1, k) for k in range(items))
    return Encoded("list", segments, branches)


def arms(cell: Cell, policy: Any, seed: int, budget: int = 8192, precision: Precision = "fp32"
         ) -> dict[str, Step]:  # fmt: skip
    """A step of every arm; rows go through the model in parts of at most `budget` tokens (one row
    at least). ModelError when arms that score the same list disagree."""
    scorer = Scorer(policy)
    tree = cell.tree(policy.config.vocab_size, seed)
    each = max(1, budget // (cell.prompt + cell.item_tokens))
    parts = [
        _batch(replace(tree, branches=tree.branches[i : i + each]), "padded", policy)
        for i in range(0, cell.items, each)
    ]
    forest = _batch(tree, "forest", policy)
    causal = _batch(_chain(tree), "padded", policy)
    scored: dict[str, Parts] = {
        "forest": [lambda: scorer(forest)],
        "causal": [lambda: scorer(causal)],
        "rows": [lambda part=part: scorer(part) for part in parts],  # type: ignore[misc]
        "dense": [lambda part=part: _dense(policy, part) for part in parts],  # type: ignore[misc]
    }
    with autocast(policy.device, precision):
        _check(scored, cell, NARROW_TOLERANCE if precision == "bf16" else TOLERANCE)
    return {name: _step(policy, found, precision) for name, found in scored.items()}


def _batch(tree: Encoded, layout: Layout, policy: Any) -> TokenBatch:
    collate = Collator(packing(policy, layout, policy.device), cost_of(policy))
    return collate([[Row(tree)]], ("full",)).to(policy.device)


def _chain(tree: Encoded) -> Encoded:
    """One sequence of all tokens, scored where the items stand, as one candidate."""
    ids = np.concatenate([s.ids for s in tree.segments[1:]])
    branch = replace(tree.branches[0], segments=(1,))
    return Encoded("chain", (tree.segments[0], Segment(0, ids)), (branch,))


def _dense(policy: Any, batch: TokenBatch) -> Tensor:
    """The candidates of padded rows by a plain call: logits of every position, then a gather."""
    (rows,) = batch.rows
    logits: Tensor = policy(input_ids=rows.ids, use_cache=False).logits
    logps = logits.flatten(0, 1).log_softmax(-1)[rows.source]
    taken = logps.gather(-1, rows.target.unsqueeze(-1)).squeeze(-1).double()
    flat = taken.new_zeros(batch.labels.valid.numel()).index_add(0, rows.owner, taken)
    return flat.view(batch.labels.valid.shape)


def _step(policy: Any, parts: Parts, precision: Precision) -> Step:
    def step() -> None:
        policy.zero_grad(set_to_none=True)
        for score in parts:
            with autocast(policy.device, precision):
                value = score().sum()
            value.backward()  # type: ignore[no-untyped-call]
        settle(policy.device)

    return step


def _check(scored: dict[str, Parts], cell: Cell, tolerance: float) -> None:
    with torch.no_grad():
        values = {n: torch.cat([s() for s in scored[n]], -1) for n in ("forest", "rows", "dense")}
    for name, value in values.items():
        worst = float((value - values["rows"]).abs().max())
        if not worst <= tolerance * cell.item_tokens:
            raise ModelError(f"{name} and rows differ by {worst:.3g} nats", where="bench")
