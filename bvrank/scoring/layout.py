"""Token trees to rows: the packed forest, and the padded layout that is its oracle.

forest   All trees in one row, no token of theirs twice and none of padding; a token sees its
         ancestors and its own segment up to itself, by attention in blocks (blocks.py).
flex     The same for FlexAttention (flex.py).
masked   The same for attention that knows masks alone. Trees whose branches share enough go whole
         into a row, several to a row as long as the dense mask costs little. Trees that share
         little are cheaper as one causal row per path, which needs no mask. A fixed count of
         multiply-adds decides, so the layout depends on shapes alone.
padded   One causal row per branch, prompt repeated, filled up on the right.

`unshifted` reads the log-prob of a token where the token itself stands, not where it is predicted:
a defect of the official IRPO code, under which a model that echoes its input scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch

from bvrank.records import Branch, Encoded, TokenRows
from bvrank.scoring.blocks import blocks, forest, until

Layout = Literal["forest", "masked", "padded"]  # as it is asked for
Packing = Literal["forest", "flex", "masked", "padded"]  # as it is computed


@dataclass(frozen=True)
class Cost:
    """Multiply-adds per token (`linear`: weights touched) and per attended pair of tokens; and the
    attended pairs whose work takes as long as a call of attention."""

    linear: float = 1.0e6
    attention: float = 1.0e3
    call: float = 2.0e3

    @property
    def roomy(self) -> int:
        """Tokens of a row up to which dense attention adds at most a quarter to the linear work."""
        return int(self.linear / max(self.attention, 1e-9) / 4) if self.attention else 1 << 20


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


def lay_out(trees: Sequence[Planted], layout: Packing, cost: Cost, unshifted: bool = False
            ) -> tuple[TokenRows, ...]:  # fmt: skip
    """Rows that score every branch of `trees` exactly once."""
    if layout in ("forest", "flex"):
        packed = partial(_packed, cost=cost, unshifted=unshifted, flex=layout == "flex")
        return (packed([_whole(t) for t in trees]),) if trees else ()
    made = partial(_rows, unshifted=unshifted)
    shared: list[Piece] = []
    causal: list[Piece] = []
    for planted in trees:
        whole, paths = _whole(planted), _paths(planted, per_branch=layout == "padded")
        if layout == "masked" and len(paths) > 1 and _sharing_pays(whole, paths, cost):
            shared.append(whole)
        else:
            causal.extend(paths)
    if layout == "padded":
        return (made([[p] for p in causal], masked=False),) if causal else ()
    groups = [made(_filled(g, cost.roomy), masked=True) for g in _alike(shared, cost.roomy)]
    return (*groups, *(made([[p] for p in g], masked=False) for g in _alike(causal)))


def _sharing_pays(shared: Piece, paths: list[Piece], cost: Cost) -> bool:
    # A dense mask computes every pair of the row; a causal row only half of its pairs.
    whole = shared.tokens * cost.linear + shared.tokens**2 * cost.attention
    apart = sum(p.tokens * cost.linear + p.tokens**2 / 2 * cost.attention for p in paths)
    return whole < apart


def _whole(planted: Planted) -> Piece:
    """The tree without the segments that none of the scored branches needs, depth first."""
    paths = planted.tree.paths()
    used = sorted(
        {s for b in planted.branches for end in b.segments for s in paths[end]},
        key=lambda s: paths[s],
    )
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


def _filled(pieces: list[Piece], roomy: int) -> list[list[Piece]]:
    """First fit decreasing into rows as long as the longest piece, or `roomy` if that is more."""
    size = max(roomy, max(p.tokens for p in pieces))
    rows: list[list[Piece]] = []
    free: list[int] = []
    for piece in sorted(pieces, key=lambda p: -p.tokens):
        at = next((i for i, f in enumerate(free) if f >= piece.tokens), len(rows))
        if at == len(rows):
            rows.append([])
            free.append(size)
        rows[at].append(piece)
        free[at] -= piece.tokens
    return rows


def _alike(pieces: list[Piece], roomy: int = 0, waste: float = 0.2) -> list[list[Piece]]:
    """Groups of similar length: none pads its shortest row by more than `waste` of the longest.
    Pieces up to `roomy` tokens make one group, since they share rows."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: -p.tokens):
        longest = groups[-1][0].tokens if groups else 0
        if groups and (longest <= roomy or piece.tokens >= (1 - waste) * longest):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


class _Canvas:
    """The tensors of some rows while pieces are put into them. Padding stands at the end of a row,
    in a segment of its own that sees itself, so that no softmax is empty."""

    def __init__(self, rows: int, width: int, segments: int, unshifted: bool) -> None:
        self.width, self.unshifted = width, unshifted
        self.ids = np.zeros((rows, width), np.int64)
        self.position = np.zeros((rows, width), np.int64)
        self.segment = np.full((rows, width), segments, np.int64)
        self.sees = np.zeros((rows, segments + 1, segments + 1), bool)
        self.sees[:, -1, -1] = True
        self.scored: list[tuple[np.ndarray, np.ndarray, int]] = []

    def put(self, n: int, piece: Piece, at: int, number: int) -> None:
        """Writes `piece` into row `n` from token `at` on; its segments count from `number`."""
        seats: dict[int, int] = {}
        ends: dict[int, int] = {}
        depth = {-1: 0}
        for s in piece.segments:
            part = piece.tree.segments[s]
            stop, start = at + len(part.ids), depth[part.parent]
            self.ids[n, at:stop] = part.ids
            self.position[n, at:stop] = np.arange(start, start + len(part.ids))
            self.segment[n, at:stop] = number
            if part.parent in seats:
                self.sees[n, number] |= self.sees[n, seats[part.parent]]
            self.sees[n, number, number] = True
            seats[s], ends[s], depth[s] = number, n * self.width + stop, start + len(part.ids)
            at, number = stop, number + 1
        for branch, owner in piece.scored:
            for s in branch.segments:
                part = piece.tree.segments[s]
                mine = np.arange(ends[s] - len(part.ids), ends[s])
                before = np.concatenate([[ends[part.parent] - 1], mine[:-1]])
                self.scored.append((mine if self.unshifted else before, part.ids, owner))


def _packed(pieces: list[Piece], *, cost: Cost, unshifted: bool, flex: bool) -> TokenRows:
    """One row of all pieces, and how its attention is computed."""
    rows = _rows([pieces], masked=True, unshifted=unshifted)
    parents: list[int] = []
    stops: list[int] = []
    for piece in pieces:
        number = {s: len(parents) + i for i, s in enumerate(piece.segments)}
        for s in piece.segments:
            part = piece.tree.segments[s]
            parents.append(number.get(part.parent, -1))
            stops.append((stops[-1] if stops else 0) + len(part.ids))
    roots = forest(parents, stops)
    if flex:
        return replace(rows, until=torch.from_numpy(until(roots)))
    return replace(rows, blocks=blocks(roots, cost.call))


def _rows(bins: list[list[Piece]], *, masked: bool, unshifted: bool) -> TokenRows:
    """Tensors of rows of pieces."""
    canvas = _Canvas(
        len(bins),
        width=max(sum(p.tokens for p in row) for row in bins),
        segments=max(sum(len(p.segments) for p in row) for row in bins),
        unshifted=unshifted,
    )
    for n, row in enumerate(bins):
        at, number = 0, 0
        for piece in row:
            canvas.put(n, piece, at, number)
            at, number = at + piece.tokens, number + len(piece.segments)
    sources, targets, owners = zip(*canvas.scored, strict=True)
    counts = [len(t) for t in targets]
    tensor = torch.from_numpy
    return TokenRows(
        ids=tensor(canvas.ids),
        position=tensor(canvas.position),
        segment=tensor(canvas.segment),
        sees=tensor(canvas.sees) if masked else None,
        source=tensor(np.concatenate(sources).astype(np.int64)),
        target=tensor(np.concatenate(targets).astype(np.int64)),
        owner=tensor(np.repeat(np.asarray(owners, np.int64), counts)),
        tokens=sum(p.tokens for row in bins for p in row),
    )
