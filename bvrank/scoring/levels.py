"""The attention of one packed row as few calls, each over many runs of tokens of any length.

The first call is causal: every run attends to itself. Behind it comes one for each depth of the
forest: all that is below a run attends to the whole of it. So a forest of pairs takes two calls
however many trees it has, and no pair of tokens is computed that no token sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bvrank.records import Level
from bvrank.scoring.blocks import Node

Span = tuple[int, int]


def levels(roots: Sequence[Node]) -> tuple[Level, ...]:
    """Calls in which every token meets each of its ancestors and itself once."""
    runs, depths = [], []
    nodes = tuple(roots)
    while nodes:
        runs += [(n.start, n.stop) for n in nodes]
        forks = [n for n in nodes if n.below]
        if forks:
            depths.append(([(n.stop, n.end) for n in forks], [(n.start, n.stop) for n in forks]))
        nodes = tuple(child for n in forks for child in n.below)
    runs.sort()
    return (_level(runs, runs, causal=True), *(_level(*spans, causal=False) for spans in depths))


def _level(queries: list[Span], keys: list[Span], *, causal: bool) -> Level:
    return Level(
        queries=_places(queries), keys=_places(keys),
        query_ends=_ends(queries), key_ends=_ends(keys),
        most_queries=max(_sizes(queries)), most_keys=max(_sizes(keys)), causal=causal,
    )  # fmt: skip


def _places(spans: list[Span]) -> Tensor:
    return torch.cat([torch.arange(start, stop) for start, stop in spans])


def _ends(spans: list[Span]) -> Tensor:
    return torch.tensor([0, *_sizes(spans)]).cumsum(0).to(torch.int32)


def _sizes(spans: list[Span]) -> list[int]:
    return [stop - start for start, stop in spans]
