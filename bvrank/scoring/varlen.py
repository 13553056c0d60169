"""Attention of packed rows on an accelerator: one call of flash attention for each depth of the
forest, over as many runs of tokens as there are (levels.py), joined as in attention.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bvrank.records import Level

_forward = torch.ops.aten._flash_attention_forward
_backward = torch.ops.aten._flash_attention_backward


def attended(query: Tensor, key: Tensor, value: Tensor, scale: float | None,
             levels: Sequence[Level]) -> Tensor:  # fmt: skip
    """query [1,H,T,D], key and value [1,H',T,D], in bf16 or fp16, to [1,T,H,D]."""
    given = (*(t.transpose(1, 2)[0] for t in (query, key, value)), scale, levels)
    found: Tensor = _Levels.apply(*given)  # type: ignore[no-untyped-call]
    return found[None]


class _Levels(torch.autograd.Function):
    """query [T,H,D], key and value [T,H',D] to [T,H,D]. Sums are fp32 at least."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None,
                levels: Sequence[Level]) -> Tensor:  # fmt: skip
        first, *deeper = levels
        out, total, *noise = _call(first, query, key, value, scale)
        exact = out.to(total.dtype) if deeper else out
        for level in deeper:
            q, k = level.queries, level.keys
            part, logsum, *_ = _call(level, query[q], key[k], value[k], scale)
            before = total[:, q]
            after = torch.logaddexp(before, logsum)
            own, other = ((t - after).exp_().T.unsqueeze(-1) for t in (before, logsum))
            exact[q] = exact[q].mul_(own).addcmul_(part.to(exact.dtype), other)
            total[:, q] = after
        out = exact.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, total, *noise[:2])
        ctx.scale, ctx.levels = scale, levels
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, total, *noise = ctx.saved_tensors
        first, *deeper = ctx.levels
        grad = grad.contiguous()
        found = _back(first, grad, query, key, value, out, total, noise, ctx.scale)
        if not deeper:
            return *found, None, None
        sums = [g.to(total.dtype) for g in found]
        for level in deeper:
            q, k = level.queries, level.keys
            parts = _back(level, grad[q], query[q], key[k], value[k], out[q],
                          total[:, q].contiguous(), noise, ctx.scale)  # fmt: skip
            for summed, part, at in zip(sums, parts, (q, k, k), strict=True):
                summed.index_add_(0, at, part.to(summed.dtype))
        return *(g.to(query.dtype) for g in sums), None, None


def _call(level: Level, query: Tensor, key: Tensor, value: Tensor, scale: float | None
          ) -> tuple[Tensor, ...]:  # fmt: skip
    """Output, log-sum-exp [H,queries], and what the kernel's backward wants of its random state."""
    found: tuple[Tensor, ...] = _forward(
        query, key, value, level.query_ends, level.key_ends, level.most_queries, level.most_keys,
        0.0, level.causal, False, scale=scale,
    )  # fmt: skip
    return found[:4]


def _back(level: Level, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor,
          total: Tensor, noise: Sequence[Tensor], scale: float | None
          ) -> tuple[Tensor, ...]:  # fmt: skip
    found: tuple[Tensor, ...] = _backward(
        grad, query, key, value, out, total, level.query_ends, level.key_ends, level.most_queries,
        level.most_keys, 0.0, level.causal, *noise, scale=scale,
    )  # fmt: skip
    return found
