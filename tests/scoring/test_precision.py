"""Float64 stays float64, and nothing else changes."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.nn.functional import softmax

from bvrank.scoring.precision import Float64, exact, recompute_contexts


@pytest.mark.parametrize("cast", [
    lambda x: x.float(), lambda x: x.to(torch.float32), lambda x: x.to(dtype=torch.float32),
    lambda x: x.to("cpu", torch.float32), lambda x: softmax(x, -1, dtype=torch.float32),
    lambda x: softmax(x, dim=-1, dtype=torch.float32),
])  # fmt: skip
def test_float64_is_not_narrowed(cast: object) -> None:
    x = torch.tensor([1.0, 1 + 1e-12], dtype=torch.float64)
    assert cast(x).dtype == torch.float32  # type: ignore[operator]
    with Float64():
        assert cast(x).dtype == torch.float64  # type: ignore[operator]
        assert cast(x)[0] != cast(x)[1]  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_are_left_alone(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, 2.0], dtype=dtype)
    with Float64():
        assert x.float().dtype == x.to(torch.float32).dtype == torch.float32
        assert softmax(x, -1, dtype=torch.float32).dtype == torch.float32
        assert softmax(x, -1).dtype == dtype


def test_other_targets_are_left_alone() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with Float64():
        assert x.to(torch.bfloat16).dtype == torch.bfloat16
        assert x.to(torch.int64).dtype == torch.int64
        assert torch.ones(2).to(torch.float64).dtype == torch.float64


def test_only_a_float64_model_is_made_exact() -> None:
    assert isinstance(exact(torch.float64), Float64)
    for dtype in (torch.float32, torch.bfloat16):
        assert isinstance(exact(dtype), contextlib.nullcontext)
    forward, again = recompute_contexts()
    assert isinstance(forward, contextlib.nullcontext) and isinstance(again, Float64)
