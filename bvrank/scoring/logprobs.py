"""log pi(token) of scored tokens, without ever holding scored tokens x vocabulary at once.

A plain linear head goes tile by tile over vocabulary and tokens, with log-sum-exps kept between
them and the gradient written out: with p = softmax(W h), d log p_y / d h = W_y - p W and
d log p_y / d W = (e_y - p) h. Any other head goes chunk by chunk through autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]

TILE = {"cpu": 2**21}  # logits at a time: a CPU's cache holds about as many
TILE_ELSEWHERE = 2**26


def token_logprobs(hidden: Tensor, target: Tensor, head: Head, *, chunk: int, parts: int = 0
                   ) -> Tensor:  # fmt: skip
    """Log-probs [M], natural, fp32 (fp64 for an fp64 model), of `target` [M].

    `hidden` [M,H] are the states that predict; `head` maps them to logits [.,vocabulary]. Chunks of
    `chunk` tokens go through the head one after another and are recomputed in backward. Are there
    fewer than `parts`, the tokens are spread over as many, some of them empty.
    """
    chunks = zip(_split(hidden, chunk, parts), _split(target, chunk, parts), strict=True)
    found = [
        checkpoint(_chunk, h, t, head, use_reentrant=False)
        if torch.is_grad_enabled()
        else _chunk(h, t, head)
        for h, t in chunks
    ]
    return torch.cat(found) if found else hidden.new_zeros(0)


def linear_logprobs(hidden: Tensor, target: Tensor, head: nn.Linear, *, chunk: int,
                    tile: int | None = None) -> Tensor:  # fmt: skip
    """The same for a head that `is_plain`, at most `chunk` tokens and about `tile` logits at a
    time."""
    kind = hidden.device.type
    autocast = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if autocast else head.weight.dtype
    size = tile or TILE.get(kind, TILE_ELSEWHERE)
    given = (hidden, target, head.weight, head.bias, dtype, chunk, size)
    found: Tensor = _Linear.apply(*given)  # type: ignore[no-untyped-call]
    return found


def is_plain(head: Any) -> bool:
    """A linear layer and nothing else: no adapter, no hook, its weight whole (no ZeRO stage 3)."""
    return (
        type(head) is nn.Linear
        and not head._forward_hooks
        and not head._forward_pre_hooks
        and not hasattr(head.weight, "ds_id")
    )


def dense_logprobs(hidden: Tensor, target: Tensor, head: Head) -> Tensor:
    """The same from one whole matrix of logits: the oracle of the others."""
    return _exact(head(hidden)).log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


def _split(values: Tensor, size: int, parts: int) -> tuple[Tensor, ...]:
    spread = math.ceil(len(values) / size) < parts
    return torch.tensor_split(values, parts) if spread else torch.split(values, size)


def _chunk(hidden: Tensor, target: Tensor, head: Head) -> Tensor:
    logits = _exact(head(hidden))
    return logits.gather(-1, target.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


class _Linear(torch.autograd.Function):
    """Logits are of type `dtype`, sums over them fp32 at least."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None,
                dtype: torch.dtype, chunk: int, tile: int) -> Tensor:  # fmt: skip
        exact = torch.promote_types(dtype, torch.float32)
        picked = hidden.new_empty(len(hidden), dtype=exact)
        total = torch.full_like(picked, -math.inf)
        for rows in _slices(len(hidden), chunk):
            states, wanted = hidden[rows].to(dtype), target[rows, None]
            for columns in _slices(len(weight), _columns(rows, tile)):
                logits = _logits(states, weight, bias, columns).to(exact)
                here = (wanted >= columns.start) & (wanted < columns.stop)
                at = (wanted - columns.start).clamp_(0, columns.stop - columns.start - 1)
                picked[rows] = torch.where(here, logits.gather(1, at), picked[rows, None])[:, 0]
                top = logits.amax(1, keepdim=True)
                summed = logits.sub_(top).exp_().sum(1).log_().add_(top[:, 0])
                total[rows] = torch.logaddexp(total[rows], summed)
        ctx.save_for_backward(hidden, target, weight, bias, total)
        ctx.dtype, ctx.chunk, ctx.tile = dtype, chunk, tile
        return picked - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, target, weight, bias, total = ctx.saved_tensors
        wants_hidden, _, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        exact, dtype = total.dtype, ctx.dtype
        # The part of e_y, then that of -p tile by tile.
        of_hidden = grad[:, None] * weight[target].to(exact) if wants_hidden else None
        of_weight = of_bias = None
        if wants_weight:
            of_weight = torch.zeros_like(weight, dtype=exact)
            of_weight.index_add_(0, target, grad[:, None] * hidden.to(exact))
        if wants_bias:
            of_bias = torch.zeros_like(bias, dtype=exact).index_add_(0, target, grad)
        for rows in _slices(len(hidden), ctx.chunk):
            states, own = hidden[rows].to(dtype), grad[rows, None]
            scaled = (hidden[rows].to(exact) * own).to(dtype)
            for columns in _slices(len(weight), _columns(rows, ctx.tile)):
                logits = _logits(states, weight, bias, columns).to(exact)
                p = logits.sub_(total[rows, None]).exp_()
                if of_bias is not None:
                    of_bias[columns] -= own[:, 0] @ p
                p = p.to(dtype)
                if of_hidden is not None:
                    of_hidden[rows] -= own * (p @ weight[columns].to(dtype)).to(exact)
                if of_weight is not None:
                    _subtract(of_weight[columns], p, scaled)
        gradients = (of_hidden, None, of_weight, of_bias)
        given = (hidden, None, weight, bias)
        cast = [None if g is None else g.to(t.dtype) for g, t in zip(gradients, given, strict=True)]
        return *cast, None, None, None


def _slices(size: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, size)) for at in range(0, size, step))


def _columns(rows: slice, tile: int) -> int:
    return int(max(1, tile // (rows.stop - rows.start)))


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, columns: slice) -> Tensor:
    own = None if bias is None else bias[columns].to(states.dtype)
    return nn.functional.linear(states, weight[columns].to(states.dtype), own)


def _subtract(total: Tensor, p: Tensor, scaled: Tensor) -> None:
    """total [columns,H] -= p [rows,columns]^T scaled [rows,H]."""
    if total.dtype == p.dtype:
        total.addmm_(p.T, scaled, alpha=-1)
    else:
        total -= p.T @ scaled
