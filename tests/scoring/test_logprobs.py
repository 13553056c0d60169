"""Chunked log-probs are the dense ones, and never as large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bvrank.scoring.logprobs import dense_logprobs, is_plain, linear_logprobs, token_logprobs

M, WIDTH, VOCABULARY = 23, 6, 50


def world(dtype: torch.dtype, tokens: int = M, bias: bool = False
          ) -> tuple[Tensor, Tensor, nn.Linear]:  # fmt: skip
    make = torch.Generator().manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias, dtype=dtype)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=make))
    hidden = torch.randn(tokens, WIDTH, generator=make).to(dtype).requires_grad_()
    return hidden, torch.randint(0, VOCABULARY, (tokens,), generator=make), head


def with_gradients(values: Tensor, hidden: Tensor, head: nn.Linear) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, len(values), dtype=values.dtype)
    return values, *torch.autograd.grad((values * weight).sum(), [hidden, *head.parameters()])


@pytest.mark.parametrize("chunk", [1, 5, 22, 23, 24, 1000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_any_chunk_gives_the_dense_values_and_gradients(
    chunk: int, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, target, head = world(dtype)
    chunked = with_gradients(token_logprobs(hidden, target, head, chunk=chunk), hidden, head)
    dense = with_gradients(dense_logprobs(hidden, target, head), hidden, head)
    torch.testing.assert_close(chunked, dense, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 5, 22, 23, 1000])
@pytest.mark.parametrize("tile", [1, 60, 500, 10**6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_any_tile_gives_the_dense_values_and_gradients(
    tile: int, chunk: int, bias: bool, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, target, head = world(dtype, bias=bias)
    values = linear_logprobs(hidden, target, head, chunk=chunk, tile=tile)
    dense = with_gradients(dense_logprobs(hidden, target, head), hidden, head)
    torch.testing.assert_close(
        with_gradients(values, hidden, head), dense, rtol=tolerance, atol=tolerance
    )


def test_logits_of_any_size_are_exact() -> None:
    hidden, target, head = world(torch.float64)
    with torch.no_grad():
        head.weight *= 1e4
    values = linear_logprobs(hidden, target, head, chunk=7, tile=60)
    torch.testing.assert_close(values, dense_logprobs(hidden, target, head), rtol=1e-12, atol=1e-9)
    assert values.min() < -1e4


def test_a_frozen_head_gets_no_gradient_and_passes_one_on() -> None:
    hidden, target, head = world(torch.float64)
    head.requires_grad_(False)
    found, truth = (
        torch.autograd.grad(values.sum(), hidden)
        for values in (
            linear_logprobs(hidden, target, head, chunk=7, tile=60),
            dense_logprobs(hidden, target, head),
        )
    )
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)
    detached = hidden.detach()
    head.requires_grad_(True)
    linear_logprobs(detached, target, head, chunk=7, tile=60).sum().backward()
    (expected,) = torch.autograd.grad(dense_logprobs(detached, target, head).sum(), head.weight)
    torch.testing.assert_close(head.weight.grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tile", [60, 10**6])
def test_autocast_is_as_near_to_the_truth_as_autograd_is(tile: int) -> None:
    hidden, target, head = world(torch.float32)
    exact_hidden, exact_target, exact_head = world(torch.float64)
    truth = with_gradients(
        dense_logprobs(exact_hidden, exact_target, exact_head), exact_hidden, exact_head
    )
    with torch.autocast("cpu", torch.bfloat16):
        plain = token_logprobs(hidden, target, head, chunk=7)
        tiled = linear_logprobs(hidden, target, head, chunk=7, tile=tile)
    plain, tiled = (with_gradients(v, hidden, head) for v in (plain, tiled))
    for one, other, true in zip(tiled, plain, truth, strict=True):
        assert one.dtype == torch.float32
        assert (one - true).norm() <= 1.2 * (other - true).norm()


def test_what_is_more_than_a_linear_layer_is_not_plain() -> None:
    _, _, head = world(torch.float32)
    assert is_plain(head)
    assert not is_plain(nn.Sequential(head)) and not is_plain(nn.Identity())
    sharded = nn.Linear(WIDTH, VOCABULARY)
    sharded.weight.ds_id = 0  # type: ignore[assignment]
    hooked = nn.Linear(WIDTH, VOCABULARY)
    hooked.register_forward_hook(lambda module, inputs, logits: logits * 2)
    assert not is_plain(sharded) and not is_plain(hooked)


@pytest.mark.parametrize(("chunk", "tile"), [(4, 40), (16, 160), (23, 230)])
def test_nothing_is_larger_than_a_tile(chunk: int, tile: int) -> None:
    hidden, target, head = world(torch.float64)
    with Largest() as largest:
        values = linear_logprobs(hidden, target, head, chunk=chunk, tile=tile)
        with_gradients(values, hidden, head)
    assert largest.numel <= max(tile, VOCABULARY * WIDTH) < M * VOCABULARY


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


@pytest.mark.parametrize("logprobs", [token_logprobs, linear_logprobs])
def test_no_token_is_an_empty_answer_that_can_be_differentiated(logprobs: Any) -> None:
    hidden, target, head = world(torch.float64, tokens=0)
    values = logprobs(hidden, target, head, chunk=4)
    assert values.shape == (0,)
    values.sum().backward()


@pytest.mark.parametrize(("parts", "calls"), [(0, 3), (2, 3), (3, 3), (4, 4), (M, M), (30, 30)])
def test_tokens_go_into_as_many_parts_as_are_asked_for(parts: int, calls: int) -> None:
    """Ranks that gather a divided head have to call it equally often, whoever has fewer tokens."""
    hidden, target, head = world(torch.float64)
    sizes: list[int] = []

    def counted(states: Tensor) -> Tensor:
        sizes.append(len(states))
        return head(states)

    values = token_logprobs(hidden, target, counted, chunk=10, parts=parts)
    assert len(sizes) == calls and sum(sizes) == M and max(sizes) <= 10
    found = with_gradients(values, hidden, head)
    dense = with_gradients(dense_logprobs(hidden, target, head), hidden, head)
    torch.testing.assert_close(found, dense, rtol=1e-13, atol=1e-13)
