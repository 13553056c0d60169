"""Rows of ids through a reward model: similar lengths together, under a budget of tokens.

Shape letters: R rows of a batch, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.records import Asked, Scored
from bvrank.rewards.rendering import Unscorable

WINDOW = 16  # batches' worth of tokens that are read ahead, to be sorted by length
Figures = tuple[float, Mapping[str, float]]


@dataclass(frozen=True)
class Row:
    """The ids of one answer; `gate` is a position that the model is read at besides the last."""

    key: str
    ids: tuple[int, ...]
    gate: int = 0


def scored(
    asked: Iterable[Asked],
    encode: Callable[[Asked], Row],
    score: Callable[[Sequence[Row]], Sequence[Figures]],
    *,
    longest: int,
    budget: int,
) -> Iterator[Scored]:
    """Encodes rows and scores them in batches of at most `budget` tokens, padding included (one row
    at least). A row over `longest` tokens is `too_long`; other reasons are those of `encode`."""
    held: list[Row] = []
    tokens = 0
    for a in asked:
        try:
            row = encode(a)
        except Unscorable as why:
            yield Scored(a.key, None, why.reason)
            continue
        if len(row.ids) > longest:
            yield Scored(a.key, None, "too_long")
            continue
        held.append(row)
        tokens += len(row.ids)
        if tokens >= WINDOW * budget:
            yield from _window(held, score, budget)
            held, tokens = [], 0
    yield from _window(held, score, budget)


def _window(
    rows: Sequence[Row], score: Callable[[Sequence[Row]], Sequence[Figures]], budget: int
) -> Iterator[Scored]:
    for batch in _batches(rows, budget):
        for row, (value, details) in zip(batch, score(batch), strict=True):
            if math.isfinite(value):
                yield Scored(row.key, value, details=details)
            else:
                yield Scored(row.key, None, "not_finite")


def _batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Longest rows first: what does not fit in memory fails at once."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda r: -len(r.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def padded(rows: Sequence[Row], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """ids int64 [R,T] and mask int64 [R,T], 0 on padding. Padded on the right, whatever the
    tokenizer says: each row's positions are then those it has alone."""
    width = max(len(r.ids) for r in rows)
    ids = [[*r.ids, *[pad] * (width - len(r.ids))] for r in rows]
    mask = [[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def unused(rows: Sequence[Row], vocabulary: int) -> int | None:
    """An id that stands in no row, to pad with; None when there is none."""
    present = {i for r in rows for i in r.ids}
    return next((i for i in range(vocabulary) if i not in present), None)
