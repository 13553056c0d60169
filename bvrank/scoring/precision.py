"""True float64: transformers' norms and softmaxes pass through float32 in a model of any dtype."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """While active, float64 tensors stay float64 where code asks for float32. Without it a float64
    gradient is right to 1e-7 only, which is no oracle (transformers 5.23)."""

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None,
                           ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        narrows = func is Tensor.float or (
            func is Tensor.to and torch.float32 in (*args[1:], kwargs.get("dtype"))
        )
        if narrows and args[0].dtype == torch.float64:
            return args[0]
        narrows = kwargs.get("dtype") == torch.float32 and func is torch.nn.functional.softmax
        if narrows and args[0].dtype == torch.float64:
            kwargs = {**kwargs, "dtype": torch.float64}
        return func(*args, **kwargs)


def exact(dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Float64() for a float64 model, nothing for any other."""
    return Float64() if dtype == torch.float64 else contextlib.nullcontext()


@contextlib.contextmanager
def both(one: contextlib.AbstractContextManager[Any], other: contextlib.AbstractContextManager[Any]
         ) -> Iterator[None]:  # fmt: skip
    """Two contexts as one."""
    with one, other:
        yield


def recompute_contexts() -> tuple[contextlib.AbstractContextManager[Any], Float64]:
    """`context_fn` of activation checkpointing: the recomputation is as exact as the forward."""
    return contextlib.nullcontext(), Float64()
