"""Attention of packed rows by FlexAttention, compiled for an accelerator: of the tiles of its mask
those that nobody sees are left out, and those that all see go without a mask.

Trees stand depth first, so that one number says who sees a token: token q sees token u when
u <= q < until[u], the end of all that is below u. The block mask is made from that on the device,
once for all layers of a kind, and nothing in it waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import pad

SIDE = 128  # tokens of a tile
LIMIT = 64  # kernels of a process: by dtype, window, gradient, and shapes fixed or free


def attended(query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: BlockMask
             ) -> Tensor:  # fmt: skip
    """query [1,H,T,D], key and value [1,H',T,D] to [1,H,T,D]."""
    tokens = query.shape[2]
    short = -tokens % SIDE
    query, key, value = (pad(t, (0, 0, 0, short)) for t in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    # Beyond the limit torch would go on without its kernels, and hold every pair.
    with dynamo.patch(recompile_limit=LIMIT, fail_on_recompile_limit_hit=True):
        found: Tensor = _compiled()(
            query, key, value, block_mask=mask, scale=scale, enable_gqa=grouped
        )
    return found[:, :, :tokens]


def block_mask(until: Tensor, position: Tensor, window: int | None) -> BlockMask:
    """The mask of T tokens, filled up to whole tiles by tokens that see themselves alone.

    `until` int64 [T]; `position` int64 [T] in a token's path, of which a layer with a `window`
    looks back less than so many.
    """
    short = -len(until) % SIDE
    place = torch.arange(len(until) + short, device=until.device)
    until = torch.cat([until, place[len(until) :] + 1])
    position = pad(position, (0, short))
    some, every = _tiles(until, place)

    def seen(batch: Any, head: Any, q: Tensor, u: Tensor) -> Tensor:
        return (u <= q) & (q < until[u])

    def near(batch: Any, head: Any, q: Tensor, u: Tensor) -> Tensor:
        return seen(batch, head, q, u) & (position[q] - position[u] < (window or 0))

    if window is not None:  # a tile that is seen whole may still be too far away
        some, every = some | every, torch.zeros_like(every)
    return BlockMask.from_kv_blocks(
        *_ordered(some), *_ordered(every), BLOCK_SIZE=SIDE,
        mask_mod=seen if window is None else near,
    )  # fmt: skip


def _tiles(until: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """bool [tiles of q, tiles of u]: seen in part, seen whole."""
    ends = until.view(-1, SIDE)
    start = place.view(-1, SIDE)[:, 0, None]
    before = start > start.T
    every = before & (ends.amin(1) >= start + SIDE)
    some = before & (ends.amax(1) > start) & ~every
    return some | (start == start.T), every


def _ordered(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the number of tiles, and their columns in front of all others; int32."""
    order = tiles.int().argsort(dim=-1, descending=True, stable=True)
    return tuple(t.to(torch.int32)[None, None] for t in (tiles.sum(-1), order))  # type: ignore[return-value]


@cache
def _compiled() -> Callable[..., Any]:
    found: Callable[..., Any] = torch.compile(flex_attention)
    return found
