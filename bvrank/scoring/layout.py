"""Token trees to rows: the packed forest, and the padded layout that is its oracle.

forest   Trees whose branches share enough go whole into a row, several to a row, under a block mask
         (a token sees its ancestors and its own segment up to itself). Trees that share little are
         cheaper as one causal row per path, which needs no mask. A fixed count of multiply-adds
         decides tree by tree, so the layout depends on shapes alone.
padded   One causal row per branch, prompt repeated, filled up on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from bvrank.records import Branch, Encoded, TokenRows

Layout = Literal["forest", "padded"]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds per token (`linear`: weights touched) and per attended pair of tokens."""

    linear: float = 1.0e6
    attention: float = 1.0e3


@dataclass(frozen=True)
class Planted:
    """A tree and where its branches count: `owners[branch]` is the flat V*B*K index."""

    tree: Encoded
    branches: tuple[Branch, ...]
    owners: tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Segments that stand in one row, in topological order, and the branches scored there."""

    tree: Encoded
    segments: tuple[int, ...]
    scored: tuple[tuple[Branch, int], ...]

    @property
    def tokens(self) -> int:
        return sum(len(self.tree.segments[s].ids) for s in self.segments)


def lay_out(trees: Sequence[Planted], layout: Layout, cost: Cost) -> tuple[TokenRows, ...]:
    """Rows that score every branch of `trees` exactly once."""
    masked: list[Piece] = []
    causal: list[Piece] = []
    for planted in trees:
        shared, paths = _whole(planted), _paths(planted, per_branch=layout == "padded")
        if layout == "forest" and len(paths) > 1 and _sharing_pays(shared, paths, cost):
            masked.append(shared)
        else:
            causal.extend(paths)
    if layout == "padded":
        return (_rows([[p] for p in causal], masked=False),) if causal else ()
    groups = [_rows(bins, masked=True) for bins in [_filled(masked)] if bins]
    groups += [_rows([[p] for p in g], masked=False) for g in _alike(causal)]
    return tuple(groups)


def _sharing_pays(shared: Piece, paths: list[Piece], cost: Cost) -> bool:
    # A dense mask computes every pair of the row; a causal row only half of its pairs.
    whole = shared.tokens * cost.linear + shared.tokens**2 * cost.attention
    apart = sum(p.tokens * cost.linear + p.tokens**2 / 2 * cost.attention for p in paths)
    return whole < apart


def _whole(planted: Planted) -> Piece:
    """The tree without the segments that none of the scored branches needs."""
    paths = planted.tree.paths()
    used = sorted({s for b in planted.branches for end in b.segments for s in paths[end]})
    return Piece(
        planted.tree, tuple(used), tuple(zip(planted.branches, planted.owners, strict=True))
    )


def _paths(planted: Planted, *, per_branch: bool) -> list[Piece]:
    """One piece per root-to-leaf path (or per branch), each branch scored once."""
    paths = planted.tree.paths()
    ends = [max(b.segments, key=lambda s: len(paths[s])) for b in planted.branches]
    inner = {s for end in ends for s in paths[end][:-1]}
    leaves = ends if per_branch else sorted(set(ends) - inner)
    pieces, done = [], set[int]()
    for number, leaf in enumerate(leaves):
        mine = [number] if per_branch else [
            i for i, end in enumerate(ends) if end in paths[leaf] and i not in done
        ]  # fmt: skip
        done.update(mine)
        scored = tuple((planted.branches[i], planted.owners[i]) for i in mine)
        pieces.append(Piece(planted.tree, paths[leaf], scored))
    return pieces


def _filled(pieces: list[Piece]) -> list[list[Piece]]:
    """First fit decreasing into rows as long as the longest piece: no row costs more attention
    than padding to that length would, and few tokens are padding."""
    pieces = sorted(pieces, key=lambda p: -p.tokens)
    rows: list[list[Piece]] = []
    free: list[int] = []
    for piece in pieces:
        at = next((i for i, f in enumerate(free) if f >= piece.tokens), None)
        if at is None:
            rows.append([])
            free.append(pieces[0].tokens)
            at = len(rows) - 1
        rows[at].append(piece)
        free[at] -= piece.tokens
    return rows


def _alike(pieces: list[Piece], waste: float = 0.2) -> list[list[Piece]]:
    """Groups of similar length: none pads its shortest row by more than `waste` of the longest."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: -p.tokens):
        if groups and piece.tokens >= (1 - waste) * groups[-1][0].tokens:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _rows(bins: list[list[Piece]], *, masked: bool) -> TokenRows:
    """Tensors of rows of pieces. Padding stands at the end of a row, in a segment of its own."""
    width = max(sum(p.tokens for p in row) for row in bins)
    count = max(sum(len(p.segments) for p in row) for row in bins) + 1
    ids = np.zeros((len(bins), width), np.int64)
    position = np.zeros((len(bins), width), np.int64)
    segment = np.full((len(bins), width), count - 1, np.int64)
    sees = np.zeros((len(bins), count, count), bool)
    sees[:, -1, -1] = True
    scored = _Scored()
    for n, row in enumerate(bins):
        at, number = 0, 0
        for piece in row:
            spans, depths = {}, {-1: 0}
            for s in piece.segments:
                part = piece.tree.segments[s]
                stop = at + len(part.ids)
                depth = depths[part.parent]
                ids[n, at:stop] = part.ids
                position[n, at:stop] = np.arange(depth, depth + len(part.ids))
                segment[n, at:stop] = number
                if part.parent >= 0:
                    sees[n, number] |= sees[n, spans[part.parent][2]]
                sees[n, number, number] = True
                spans[s] = (n * width + at, n * width + stop, number)
                depths[s] = depth + len(part.ids)
                at, number = stop, number + 1
            scored.add(piece, spans)
    source, target, owner = scored.tensors()
    return TokenRows(
        ids=torch.from_numpy(ids),
        position=torch.from_numpy(position),
        segment=torch.from_numpy(segment),
        sees=torch.from_numpy(sees) if masked else None,
        source=source,
        target=target,
        owner=owner,
        tokens=sum(p.tokens for row in bins for p in row),
    )


class _Scored:
    """Collects, token by token, which position predicts what for whom."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, int]] = []

    def add(self, piece: Piece, spans: dict[int, tuple[int, int, int]]) -> None:
        for branch, owner in piece.scored:
            for s in branch.segments:
                start, stop, _ = spans[s]
                part = piece.tree.segments[s]
                before = spans[part.parent][1] - 1  # the token that predicts the first one
                source = np.concatenate([[before], np.arange(start, stop - 1)])
                self.parts.append((source, part.ids, owner))

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        join: Callable[[list[np.ndarray]], np.ndarray] = np.concatenate
        sources = join([p[0] for p in self.parts]).astype(np.int64)
        targets = join([p[1] for p in self.parts]).astype(np.int64)
        owners = join([np.full(len(p[1]), p[2], np.int64) for p in self.parts])
        return torch.from_numpy(sources), torch.from_numpy(targets), torch.from_numpy(owners)
