"""The attention of one packed row as dense blocks, so that hardly a pair is computed that no token
sees. Trees stand in the row depth first: all that is below a segment follows it as one range.

causal  a run of segments attends to itself; a long one in halves, the second to the first as well
full    everything below a run attends to the whole of it
tree    small subtrees attend to themselves under a mask, where calls would cost more than pairs

A query that stands in several blocks has its parts joined by their log-sum-exps (attention.py). A
fixed count of attended pairs decides, so the blocks depend on shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from bvrank.records import Block

TILE = 512  # keys that the kernel takes at a time: a causal block of no more saves nothing


@dataclass(frozen=True)
class Node:
    """A run of tokens [start, stop) without a fork, and what follows from its end."""

    start: int
    stop: int
    below: tuple[Node, ...] = ()

    @cached_property
    def end(self) -> int:
        """Where the subtree ends."""
        return self.below[-1].end if self.below else self.stop


@dataclass(frozen=True)
class _Group:
    """Neighbouring subtrees [start, end), each in blocks of its own or together under a mask."""

    nodes: tuple[Node, ...]
    masked: bool
    cost: float

    @property
    def start(self) -> int:
        return self.nodes[0].start

    @property
    def end(self) -> int:
        return self.nodes[-1].end


def forest(parents: Sequence[int], stops: Sequence[int]) -> tuple[Node, ...]:
    """The trees of segments in depth-first order: each one's parent (-1: a root) and end in the
    row. A segment and its only child are one run."""
    below: list[list[Node]] = [[] for _ in parents]
    roots: list[Node] = []
    for s in reversed(range(len(parents))):
        start = stops[s - 1] if s else 0
        children = tuple(reversed(below[s]))
        node = Node(start, stops[s], children)
        if len(children) == 1:
            node = Node(start, children[0].stop, children[0].below)
        (below[parents[s]] if parents[s] >= 0 else roots).append(node)
    return tuple(reversed(roots))


def until(roots: Sequence[Node]) -> np.ndarray:
    """int64 [T]: for each token the end of all that is below it, or of its run where nothing is."""
    found = np.zeros(roots[-1].end, np.int64)
    nodes = list(roots)
    while nodes:
        node = nodes.pop()
        found[node.start : node.stop] = node.end
        nodes += node.below
    return found


def blocks(roots: Sequence[Node], call: float) -> tuple[Block, ...]:
    """Blocks in which every token meets each of its ancestors and itself once. A call costs as much
    as `call` attended pairs."""
    return tuple(_below(roots, call, first=True))


def _below(nodes: Sequence[Node], call: float, *, first: bool) -> Iterator[Block]:
    for group in _groups(nodes, call):
        if group.masked:
            whole = (group.start, group.end)
            yield Block(whole, whole, "tree", first)
            continue
        for node in group.nodes:
            yield from _causal(node.start, node.stop, call, first=first)
            if node.below:
                yield Block((node.stop, node.end), (node.start, node.stop), "full", first)
                yield from _below(node.below, call, first=False)


def _causal(start: int, stop: int, call: float, *, first: bool) -> Iterator[Block]:
    middle = (start + stop) // 2
    if not _halved(stop - start, call):
        yield Block((start, stop), (start, stop), "causal", first)
        return
    yield from _causal(start, middle, call, first=first)
    yield Block((middle, stop), (start, middle), "full", first)
    yield from _causal(middle, stop, call, first=False)


def _halved(tokens: int, call: float) -> bool:
    """Whether a causal run of so many tokens costs less in halves."""
    return _causal_cost(tokens, call) < _undivided(tokens, call)


@lru_cache(maxsize=1 << 16)
def _causal_cost(tokens: int, call: float) -> float:
    if tokens < 2:
        return _undivided(tokens, call)
    early, late = tokens // 2, tokens - tokens // 2
    halves = _causal_cost(early, call) + _causal_cost(late, call) + early * late + call
    return min(_undivided(tokens, call), halves)


def _undivided(tokens: int, call: float) -> float:
    return tokens * min(tokens, (tokens + TILE) / 2) + call


def _groups(nodes: Sequence[Node], call: float) -> list[_Group]:
    """Neighbours join under one mask as long as that makes them cheaper."""
    groups: list[_Group] = []
    for node in nodes:
        alone = _alone(node, call)
        if groups:
            tokens = node.end - groups[-1].start
            if (cost := tokens**2 + call) <= groups[-1].cost + alone.cost:
                groups[-1] = _Group((*groups[-1].nodes, node), True, cost)
                continue
        groups.append(alone)
    return groups


def _alone(node: Node, call: float) -> _Group:
    own = node.stop - node.start
    apart = _causal_cost(own, call)
    if node.below:
        apart += own * (node.end - node.stop) + call
        apart += sum(group.cost for group in _groups(node.below, call))
    whole = (node.end - node.start) ** 2 + call
    return _Group((node,), whole < apart, min(whole, apart))
