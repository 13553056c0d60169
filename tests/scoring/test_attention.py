"""Attention in blocks is attention under the mask, gradients included."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.errors import ModelError
from bvrank.records import TokenRows
from bvrank.scoring.attention import Sight, attend
from bvrank.scoring.scorer import visible
from tests.scoring.test_blocks import CALLS, row_of

HEADS, GROUPS, WIDTH = 4, 2, 8


def world(rows: TokenRows, dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value and a gradient for what comes out."""
    make = torch.Generator().manual_seed(0)
    tokens = rows.ids.shape[1]
    sizes = [HEADS, HEADS // GROUPS, HEADS // GROUPS, HEADS]
    drawn = [torch.randn(1, tokens, h, WIDTH, generator=make) * 2 for h in sizes]
    *inputs, weight = (t.to(dtype).transpose(1, 2) for t in drawn)
    return [*(t.requires_grad_() for t in inputs), weight.transpose(1, 2)]


def under_mask(rows: TokenRows, inputs: list[Tensor], window: int | None) -> Tensor:
    """The oracle: every pair, then the mask."""
    q, k, v = inputs
    seen = visible(rows)[0]
    if window is not None:
        seen = seen & (rows.position[0][:, None] - rows.position[0][None] < window)
    k, v = (t.repeat_interleave(GROUPS, 1) for t in (k, v))
    scores = (q @ k.transpose(-1, -2)) * 0.3
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(1, 2)


def with_gradients(out: Tensor, inputs: list[Tensor], weight: Tensor) -> tuple[Tensor, ...]:
    return out, *torch.autograd.grad((out * weight).sum(), inputs)


def in_blocks(rows: TokenRows, inputs: list[Tensor], window: int | None, **more: Any) -> Tensor:
    module: Any = SimpleNamespace(num_key_value_groups=GROUPS)
    out, _ = attend(
        module, *inputs, None, scaling=0.3, sliding_window=window, sight=Sight(rows), **more
    )
    return out


@pytest.mark.parametrize("window", [None, 1, 3, 20, 1000])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_the_mask_in_fp64(seed: int, call: float, window: int | None) -> None:
    rows = row_of(seed, call, "mixed" if seed else "marked")
    *inputs, weight = world(rows, torch.float64)
    found = with_gradients(in_blocks(rows, inputs, window), inputs, weight)
    truth = with_gradients(under_mask(rows, inputs, window), inputs, weight)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("call", CALLS)
def test_bf16_is_as_near_to_the_truth_as_the_kernel_on_a_dense_mask(call: float) -> None:
    rows = row_of(1, call, "mixed")
    *exact, weight = world(rows, torch.float64)
    truth = with_gradients(under_mask(rows, exact, None), exact, weight)
    *narrow, weight = world(rows, torch.bfloat16)
    whole = row_of(1, 1e9, "mixed")  # one block under one mask
    dense = with_gradients(in_blocks(whole, narrow, None), narrow, weight)
    found = with_gradients(in_blocks(rows, narrow, None), narrow, weight)
    for one, other, true in zip(found, dense, truth, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - true).norm() <= 1.2 * (other.double() - true).norm()


def test_autocast_narrows_what_it_narrows_for_sdpa() -> None:
    rows = row_of(0, 3.0)
    *inputs, _ = world(rows, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = in_blocks(rows, inputs, None)
    assert out.dtype == torch.bfloat16
    assert in_blocks(rows, inputs, None).dtype == torch.float32


@pytest.mark.parametrize("more", [{"softcap": 5.0}, {"s_aux": 1.0}, {"dropout": 0.1}])
def test_what_no_block_computes_is_refused(more: dict[str, Any]) -> None:
    rows = row_of(0, 3.0)
    *inputs, _ = world(rows, torch.float32)
    with pytest.raises(ModelError, match="eager"):
        in_blocks(rows, inputs, None, **more)


def test_without_blocks_it_is_the_attention_of_transformers() -> None:
    *inputs, _ = world(row_of(0, 3.0), torch.float64)
    module: Any = SimpleNamespace(num_key_value_groups=GROUPS, is_causal=True)
    out, weights = attend(module, *inputs, None, scaling=0.3)
    rows = row_of(0, 3.0)
    tokens = rows.ids.shape[1]
    causal = TokenRows(
        rows.ids, rows.position, torch.zeros_like(rows.segment), torch.ones(1, 1, 1) > 0,
        rows.source, rows.target, rows.owner, tokens,
    )  # fmt: skip
    torch.testing.assert_close(out, under_mask(causal, inputs, None), rtol=1e-10, atol=1e-12)
    assert weights is None


def test_masks_are_made_once_for_all_layers_of_a_kind() -> None:
    sight = Sight(row_of(0, 40.0))
    one = sight.blocks(None, torch.float32)
    assert sight.blocks(None, torch.float32) is one
    assert sight.blocks(3, torch.float32) is not one
