"""Log-probs of token trees under a policy, kept as they are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bvrank.records import BARE, FULL, Branch, Encoded, Segment
from bvrank.sampling.responses import Log, Logged, Shelf
from bvrank.scoring.collate import Collator, Row
from bvrank.tracking.progress import phase

VIEWS = (FULL, BARE)
TOKENS = 16_384  # that go through the model together


@dataclass(frozen=True)
class Likely(Logged):
    """Log-probs of the branches of tree `row`, in their order; what a tree holds twice (`copy`) is
    always 0."""

    logps: tuple[float, ...] = ()


def likelihoods(folder: Path, name: str, trees: Mapping[int, Encoded], policy: Any
                ) -> dict[int, tuple[float, ...]]:  # fmt: skip
    """Row -> log-probs of the branches of its tree, in nats, by the scorer that trains. What the
    log `name` of the folder holds is not computed again; of nothing left no weights are loaded."""
    path = folder / f"{name}-00000.jsonl"
    known = Shelf([path] if path.exists() else [], Likely)
    left = [row for row in trees if _key(row) not in known]
    with Log(path) as log, phase(f"scoring: {name}", len(trees), done=len(known)) as shown:
        if left:
            score, collate = policy.scorer(), policy.collator()
            for rows in _batches(left, trees):
                found = _scored([trees[r] for r in rows], collate, score)
                log.add([Likely("plain", r, 0, f) for r, f in zip(rows, found, strict=True)])
                shown.advance(len(rows))
    known = Shelf([path], Likely)
    return {m.row: tuple(m.logps) for m in known.get(map(_key, trees))}


def behind(where: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Encoded:
    """A tree of scored ids, each behind a context of its own; equal contexts are shared."""
    roots: dict[tuple[int, ...], int] = {}
    segments: list[Segment] = []
    branches: list[Branch] = []
    for context, ids in pairs:
        front = tuple(context)
        if front not in roots:
            roots[front] = len(segments)
            segments.append(Segment(-1, np.array(front, np.int32)))
        segments.append(Segment(roots[front], np.array(ids, np.int32)))
        branches.append(Branch(FULL, (len(segments) - 1,), 0.0, len(branches) + 1, 0))
    return Encoded(where, tuple(segments), tuple(branches))


def _key(row: int) -> Any:
    return Likely("plain", row, 0).key


def _batches(rows: Sequence[int], trees: Mapping[int, Encoded]) -> Iterator[list[int]]:
    part: list[int] = []
    size = 0
    for row in rows:
        tokens = sum(len(s.ids) for s in trees[row].segments)
        if part and size + tokens > TOKENS:
            yield part
            part, size = [], 0
        part.append(row)
        size += tokens
    if part:
        yield part


def _scored(trees: Sequence[Encoded], collate: Collator, score: Any) -> list[tuple[float, ...]]:
    with torch.no_grad():
        found = score(collate([[Row(t)] for t in trees], VIEWS))  # [V,B,K]
    return [_of(tree, found[:, b]) for b, tree in enumerate(trees)]


def _of(tree: Encoded, found: torch.Tensor) -> tuple[float, ...]:
    """The branches' own, out of [V,K]."""
    seats = {view: iter(row.tolist()) for view, row in zip(VIEWS, found, strict=True)}
    return tuple(next(seats[b.view]) for b in tree.branches)
