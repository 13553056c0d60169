"""The policy as the settings want it: dtype, adapter, recomputation, compilation; its optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import AttentionInterface

from bvrank.commands.settings import TrainSettings
from bvrank.errors import ConfigError, ModelError
from bvrank.scoring.attention import attend
from bvrank.scoring.precision import Float64, both, recompute_contexts
from bvrank.scoring.scorer import Scorer, causal_lm

_aten = torch.ops.aten
# Kept by activation_checkpointing=selective: what costs more to compute than to keep.
KEPT = {
    _aten.mm.default, _aten.addmm.default, _aten.bmm.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip
# Options of an optimizer that choose how it computes: one that is given is left alone.
IMPLEMENTATIONS = ("fused", "foreach", "capturable", "differentiable")


def ready_model(model: Any, settings: TrainSettings, seed: int, lora: Any, tokenizer: Any) -> Any:
    """Dtype, adapter, activation checkpointing and compilation as set; the tokenizer goes with the
    weights."""
    if settings.precision == "fp64":
        model = model.double()
    model = lora.wrap(model, seed)
    model.bvrank_tokenizer = tokenizer
    if settings.activation_checkpointing:
        _checkpoint_activations(model, settings)
    if settings.compile:
        _compile(model)
    return model


def optimizer_of(model: Any, settings: TrainSettings, device: torch.device
                 ) -> torch.optim.Optimizer:  # fmt: skip
    """The optimizer as set, over the weights that train: fused where torch has it for `device` and
    the options do not say otherwise."""
    kind: Any = settings.optimizer.kind()
    weights = [p for p in model.parameters() if p.requires_grad]
    options = {**_fused(kind, device, settings.optimizer.options), **settings.optimizer.options}
    optimizer: torch.optim.Optimizer = kind(weights, lr=settings.optimizer.lr, **options)
    return optimizer


def scorer_of(model: Any, settings: TrainSettings) -> Scorer:
    """The module that engines wrap."""
    return Scorer(model, chunk=settings.scoring.chunk)


def _fused(kind: Any, device: torch.device, options: dict[str, Any]) -> dict[str, bool]:
    if "fused" not in inspect.signature(kind).parameters or any(
        name in options for name in IMPLEMENTATIONS
    ):
        return {}
    probe = torch.nn.Parameter(torch.zeros(1, device=device))
    probe.grad = torch.zeros_like(probe)
    try:
        kind([probe], lr=1e-3, fused=True, **options).step()
    except RuntimeError:  # this class has none for this device
        return {}
    return {"fused": True}


def _checkpoint_activations(model: Any, settings: TrainSettings) -> None:
    options: dict[str, Any] = {"use_reentrant": False}
    exact = settings.precision == "fp64"
    if settings.activation_checkpointing == "selective":
        options["context_fn"] = partial(_selective, exact)
    elif exact:
        options["context_fn"] = recompute_contexts
    # transformers 6 drops the older name.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(options)
    if hasattr(model, "enable_input_require_grads") and hasattr(model, "peft_config"):
        model.enable_input_require_grads()


def _selective(exact: bool) -> tuple[Any, Any]:
    forward, again = create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]
    return forward, both(again, Float64()) if exact else again


def _policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    kept = operation in KEPT
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def _compile(model: Any) -> None:
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
