"""The work in token trees: tokens, attended pairs, and the operations a model cannot do without."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from bvrank.records import Encoded
from bvrank.scoring.scorer import causal_lm, cost_of

SIDE, SIDE_ELSEWHERE = 2048, 8192  # of the square matrices whose product is a machine's peak
LONG = 0.1  # seconds of a product behind which no larger one is tried


@dataclass(frozen=True)
class Work:
    """Unique tokens, pairs of a token and one it may see, and scored tokens."""

    tokens: int = 0
    pairs: int = 0
    scored: int = 0

    @classmethod
    def of(cls, tree: Encoded) -> Work:
        """Of a tree, each of its tokens once."""
        ends: list[int] = []
        pairs = 0
        for s in tree.segments:
            start, own = ends[s.parent] if s.parent >= 0 else 0, len(s.ids)
            ends.append(start + own)
            pairs += own * start + own * (own + 1) // 2
        scored = sum(len(tree.segments[s].ids) for b in tree.branches for s in b.segments)
        return cls(sum(len(s.ids) for s in tree.segments), pairs, scored)

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.pairs + other.pairs,
                    self.scored + other.scored)  # fmt: skip


def flops(work: Work, model: Any) -> float:
    """Operations of forward and backward: 6 per weight of a matrix and token, 12 per layer, width
    and attended pair of which the scores and the sums each have a half, and the head on scored
    tokens. Nothing that is computed again counts."""
    causal = causal_lm(model)
    matrices = sum(p.numel() for p in causal.base_model.parameters() if p.dim() > 1)
    body = matrices - causal.get_input_embeddings().weight.numel()
    head = causal.get_output_embeddings().weight.numel()
    pairs = work.pairs * cost_of(model).attention
    multiply_adds = work.tokens * body + pairs + work.scored * head
    return float(6.0 * multiply_adds)


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Operations per second of a product of two square matrices, as large as LONG allows: a
    processor without units for bf16 takes minutes for what others do in milliseconds."""
    most = SIDE if device.type == "cpu" else SIDE_ELSEWHERE
    side = min(most, 256)
    _product(device, dtype, side, 1)  # the first of its kind is slow
    while side < most and _product(device, dtype, side, 1) < LONG:
        side *= 2
    return 2.0 * side**3 * repeats / _product(device, dtype, side, repeats)


def _product(device: torch.device, dtype: torch.dtype, side: int, repeats: int) -> float:
    """Seconds of so many products, behind one that does not count."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for counted in (1, repeats):
        start = time.perf_counter()
        for _ in range(counted):
            one @ other
        settle(device)
    return time.perf_counter() - start


def settle(device: torch.device) -> None:
    """Waits until `device` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
