"""How the cost of a step grows: with the items of a list, the tokens of a trace, rows of the data.

A step is forward and backward of the candidates' log-probs. Where it grows with tokens, the seconds
are a line in unique tokens and attended pairs, or something is computed that need not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bvrank.bench.lists import list_of
from bvrank.bench.material import random_rows
from bvrank.bench.own import tree_of
from bvrank.bench.rounds import Step
from bvrank.bench.work import Work, settle
from bvrank.data.batches import Stream
from bvrank.data.encoding import AT_ONCE
from bvrank.data.loader import Order, streams_of
from bvrank.data.shelf import Shelf, Writer
from bvrank.engines.local import Precision, autocast
from bvrank.records import BARE, FULL, Encoded
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.scorer import Scorer, cost_of, packing
from bvrank.scoring.values import Values
from bvrank.tracking.progress import phase


@dataclass(frozen=True)
class Point:
    """A size, what is done there, and its work."""

    setting: dict[str, int | str]
    step: Step
    work: Work


def lists(policy: Any, sizes: list[int], prompt: int, item: int, seed: int,
          precision: Precision = "fp32") -> Iterator[Point]:  # fmt: skip
    """Lists of so many items of `item` tokens below a prompt."""
    for size in sizes:
        tree = list_of(policy.config.vocab_size, size, prompt, item, seed)
        step = scoring(policy, [tree], precision)
        yield Point({"grows": "items", "size": size}, step, Work.of(tree))


def traces(policy: Any, sizes: list[int], prompt: int, answer: int, seed: int,
           precision: Precision = "fp32") -> Iterator[Point]:  # fmt: skip
    """BVPO's four branches: two traces of so many tokens with their answers, and two answers."""
    vocabulary = policy.config.vocab_size
    for size in sizes:
        (full,) = random_rows(1, vocabulary, prompt, size + answer, seed)
        (bare,) = random_rows(1, vocabulary, prompt, answer, seed + 1)
        both = {FULL: full[FULL], BARE: [full[FULL][0], *bare[FULL][1:]]}
        tree = tree_of(both)
        step = scoring(policy, [tree], precision)
        yield Point({"grows": "trace tokens", "size": size}, step, Work.of(tree))


def rows(policy: Any, sizes: list[int], batch: int, seed: int, folder: Path) -> Iterator[Point]:
    """The batches of a step out of so many rows, which lie in `folder` as those of a run do: no
    weight is touched."""
    (pair,) = random_rows(1, policy.config.vocab_size, 32, 16, seed)
    most = _shelf(tree_of(pair), max(sizes), folder)
    collate = Collator(packing(policy, "forest", policy.device), cost_of(policy))
    for size in sizes:
        trees = most[:size]
        order = Order(streams_of(trees, (FULL,), independent=False), seed, batch)
        values = Values(np.zeros(2 * size), 2 * np.arange(1, size + 1))
        stream = Stream(trees, values, order, collate, batch)
        yield Point({"grows": "rows", "size": size}, _drawing(stream), Work())


def _shelf(tree: Encoded, size: int, folder: Path) -> Shelf:
    with Writer(folder) as writer, phase("writing rows", size) as shown:
        for start in range(0, size, AT_ONCE):
            part = [tree] * min(AT_ONCE, size - start)
            writer.add(part)
            shown.advance(len(part))
        writer.close()
    return Shelf(folder)


def scoring(policy: Any, trees: list[Encoded], precision: Precision = "fp32") -> Step:
    """Forward and backward of the trees' candidates."""
    scorer = Scorer(policy)
    views = tuple(dict.fromkeys(b.view for tree in trees for b in tree.branches))
    collate = Collator(packing(policy, "forest", policy.device), cost_of(policy))
    batch = collate([[Row(tree)] for tree in trees], views).to(policy.device)

    def step() -> None:
        policy.zero_grad(set_to_none=True)
        with autocast(policy.device, precision):
            value = scorer(batch).sum()
        value.backward()
        settle(policy.device)

    return step


def _drawing(stream: Stream) -> Step:
    numbers = iter(range(1, 1 << 30))

    def step() -> None:
        list(stream.step(next(numbers), (FULL,)))

    return step
