"""Attention of packed rows, block by block (blocks.py) or by FlexAttention (flex.py), as
transformers' attention `sdpa`.

Each block is one call of torch's attention kernel for CPUs, which also returns the log-sum-exp L of
a query's scores. Parts of one query join as o = sum_i exp(L_i - L) o_i with L = logsumexp_i L_i;
the kernel's backward, given the joined o and L, yields the exact gradient of each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bvrank.errors import ModelError
from bvrank.records import Block, TokenRows
from bvrank.scoring.flex import attended, block_mask

Masked = tuple[Block, Tensor | None]  # an additive mask [queries, keys], or None

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Sight:
    """What the tokens of one packed row see, as blocks with their masks; masks are made once for
    all layers of a kind."""

    def __init__(self, rows: TokenRows) -> None:
        self._rows = rows
        self.flexible = rows.until is not None
        self._masks: dict[int | None, BlockMask] = {}
        self._made: dict[tuple[int | None, torch.dtype], list[Masked]] = {}

    @property
    def windows(self) -> set[int | None]:
        """What layers have asked for so far; empty where none has."""
        return {window for window, _ in self._made} | set(self._masks)

    def blocks(self, window: int | None, dtype: torch.dtype) -> list[Masked]:
        """The blocks of a layer whose tokens look back less than `window` places in their path
        (None: all the way)."""
        if (window, dtype) not in self._made:
            found = (self._masked(block, window, dtype) for block in self._rows.blocks)
            self._made[window, dtype] = [f for f in found if f is not None]
        return self._made[window, dtype]

    def mask(self, window: int | None) -> BlockMask:
        """The mask of such a layer for FlexAttention."""
        if window not in self._masks:
            assert self._rows.until is not None
            self._masks[window] = block_mask(self._rows.until, self._rows.position[0], window)
        return self._masks[window]

    def _masked(self, block: Block, window: int | None, dtype: torch.dtype) -> Masked | None:
        """None for a block in which nothing is near enough. The first one of its queries stays even
        then: what is all mask weighs nothing once joined with a part that is not."""
        (q0, q1), (k0, k1) = block.queries, block.keys
        q, k = self._rows.position[0, q0:q1], self._rows.position[0, k0:k1]
        far = window is not None and int(q.max()) - int(k[0]) >= window  # positions rise in a run
        if far and not block.first and int(q.min()) - int(k[-1]) >= (window or 0):
            return None
        if block.kind != "tree" and not far:
            return block, None
        seen = self._seen(block)
        if far:
            seen &= (q - (window or 0))[:, None] < k[None]
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return block, mask

    def _seen(self, block: Block) -> Tensor:
        (q0, q1), (k0, k1) = block.queries, block.keys
        order = torch.arange(q0, q1)[:, None] >= torch.arange(k0, k1)[None]
        if block.kind != "tree":
            return order
        assert self._rows.sees is not None
        segment = self._rows.segment[0]
        return order & self._rows.sees[0][segment[q0:q1, None], segment[None, k0:k1]]


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
           dropout: float = 0.0, scaling: float | None = None, sliding_window: int | None = None,
           sight: Sight | None = None, **others: Any) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' attention: query [1,H,T,D], key and value [1,H',T,D] to [1,T,H,D].

    Without a `sight` it is transformers' own. ModelError for what no block can compute.
    """
    if sight is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling,
            sliding_window=sliding_window, **others,
        )  # fmt: skip
        return plain
    odd = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if odd or dropout:
        raise ModelError(
            f"its attention has {odd[0] if odd else 'dropout'}, which no block computes",
            where="model.attention", repair="Set model.attention=eager.",
        )  # fmt: skip
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        narrow = torch.get_autocast_dtype(kind)
        query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
    if sight.flexible:
        found = attended(query, key, value, scaling, sight.mask(sliding_window))
        return found.transpose(1, 2), None
    made = sight.blocks(sliding_window, query.dtype)
    given = (query, key, value, scaling, made)
    joined: Tensor = _Joined.apply(*given)  # type: ignore[no-untyped-call]
    return joined.transpose(1, 2), None


class _Joined(torch.autograd.Function):
    """Attention over blocks. Sums are fp32 at least."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None,
                blocks: Sequence[Masked]) -> Tensor:  # fmt: skip
        exact = torch.promote_types(query.dtype, torch.float32)
        out = _as_projected(query, exact)
        total = query.new_empty(query.shape[:3], dtype=exact)
        for block, mask in blocks:
            q, k = slice(*block.queries), slice(*block.keys)
            part, logsum = _forward(
                query[:, :, q], key[:, :, k], value[:, :, k], 0.0,
                block.kind == "causal" and mask is None, attn_mask=mask, scale=scale,
            )  # fmt: skip
            if block.first:
                out[:, :, q], total[:, :, q] = part, logsum
                continue
            before, after = total[:, :, q], torch.logaddexp(total[:, :, q], logsum)
            out[:, :, q] *= (before - after).exp_().unsqueeze(-1)
            out[:, :, q] += part * (logsum - after).exp_().unsqueeze(-1)
            total[:, :, q] = after
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, total)
        ctx.scale, ctx.blocks = scale, blocks
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, total = ctx.saved_tensors
        exact = total.dtype
        of_query, of_key, of_value = (_as_projected(t, exact) for t in (query, key, value))
        of_key.zero_()
        of_value.zero_()
        for block, mask in ctx.blocks:
            q, k = slice(*block.queries), slice(*block.keys)
            parts = _backward(
                grad[:, :, q], query[:, :, q], key[:, :, k], value[:, :, k], out[:, :, q],
                total[:, :, q], 0.0, block.kind == "causal" and mask is None, attn_mask=mask,
                scale=ctx.scale,
            )  # fmt: skip
            if block.first:
                of_query[:, :, q] = parts[0]
            else:
                of_query[:, :, q] += parts[0]
            of_key[:, :, k] += parts[1]
            of_value[:, :, k] += parts[2]
        of_all = (of_query, of_key, of_value)
        return *(g.to(query.dtype) for g in of_all), None, None


def _as_projected(like: Tensor, dtype: torch.dtype) -> Tensor:
    """An empty [1,H,T,D] that lies in memory as [1,T,H,D], as the projections have it."""
    _, heads, tokens, width = like.shape
    return like.new_empty((1, tokens, heads, width), dtype=dtype).transpose(1, 2)


AttentionInterface.register("sdpa", attend)
