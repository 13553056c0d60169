"""torch.compile for the layers of a model that attends to packed rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface

from bvrank.errors import ConfigError, ModelError
from bvrank.scoring.attention import attend
from bvrank.scoring.scorer import causal_lm


def compile_layers(model: Any) -> None:
    """Compiles each layer in place, so that names of weights stay. ModelError when there is none
    that can be, ConfigError without a compiler."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    _check_compiler()
    layers = [m for m in causal_lm(model).modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError("has no layers that can be compiled", where="model",
                         repair="Set compile=false.")  # fmt: skip
    # Blocks differ from step to step: attention stays as it is, between two compiled halves.
    plain: Callable[..., Any] = torch.compiler.disable(attend)  # type: ignore[no-untyped-call]
    AttentionInterface.register("sdpa", plain)
    for layer in layers:
        layer.compile(dynamic=True)


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # of a class of its own in each version of torch
        raise ConfigError("there is no C++ compiler here", where="compile",
                          repair="Install g++, or set compile=false.") from error  # fmt: skip
