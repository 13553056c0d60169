"""Chunked log-probs are the dense ones, and never as large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bvrank.scoring.logprobs import dense_logprobs, token_logprobs

M, WIDTH, VOCABULARY = 23, 6, 50


def world(dtype: torch.dtype, tokens: int = M) -> tuple[Tensor, Tensor, nn.Linear]:
    make = torch.Generator().manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(VOCABULARY, WIDTH, generator=make))
    hidden = torch.randn(tokens, WIDTH, generator=make).to(dtype).requires_grad_()
    return hidden, torch.randint(0, VOCABULARY, (tokens,), generator=make), head


def with_gradients(values: Tensor, hidden: Tensor, head: nn.Linear) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, len(values), dtype=values.dtype)
    return values, *torch.autograd.grad((values * weight).sum(), [hidden, head.weight])


@pytest.mark.parametrize("chunk", [1, 5, 22, 23, 24, 1000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_any_chunk_gives_the_dense_values_and_gradients(
    chunk: int, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, target, head = world(dtype)
    chunked = with_gradients(token_logprobs(hidden, target, head, chunk=chunk), hidden, head)
    dense = with_gradients(dense_logprobs(hidden, target, head), hidden, head)
    torch.testing.assert_close(chunked, dense, rtol=tolerance, atol=tolerance)


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation returns, recomputed ones included."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_nothing_is_larger_than_one_chunk_times_the_vocabulary(chunk: int) -> None:
    hidden, target, head = world(torch.float64)
    seen: list[int] = []
    head.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    with Largest() as largest:
        with_gradients(token_logprobs(hidden, target, head, chunk=chunk), hidden, head)
    assert max(seen) == chunk and sum(seen) == 2 * M  # once forward, once again for backward
    assert largest.numel <= max(chunk * VOCABULARY, VOCABULARY * WIDTH) < M * VOCABULARY


def test_without_gradients_nothing_is_recomputed() -> None:
    hidden, target, head = world(torch.float64)
    expected = token_logprobs(hidden, target, head, chunk=4)
    seen: list[int] = []
    head.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    with torch.no_grad():
        values = token_logprobs(hidden, target, head, chunk=4)
    assert torch.equal(values, expected) and not values.requires_grad and sum(seen) == M


def test_bf16_logits_are_summed_in_fp32() -> None:
    hidden, target, head = world(torch.bfloat16)
    values = token_logprobs(hidden, target, head, chunk=7)
    logits = head(hidden).double()
    expected = logits.log_softmax(-1).gather(-1, target[:, None])[:, 0].float()
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-6)


def test_no_token_is_an_empty_answer_that_can_be_differentiated() -> None:
    hidden, target, head = world(torch.float64, tokens=0)
    values = token_logprobs(hidden, target, head, chunk=4)
    assert values.shape == (0,)
    values.sum().backward()
