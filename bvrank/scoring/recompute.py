"""Activations computed again in the backward pass: all of a layer, or what is cheap of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from bvrank.scoring.precision import Float64, both, recompute_contexts

_aten = torch.ops.aten
# Kept where it is selective: what costs more to compute than to keep.
KEPT = {
    _aten.mm.default, _aten.addmm.default, _aten.bmm.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    _aten._flash_attention_forward.default,
}  # fmt: skip


def checkpoint_activations(model: Any, *, selective: bool = False, exact: bool = False) -> None:
    """Lets every layer of a transformers model forget its activations; `exact`: in fp64."""
    options: dict[str, Any] = {"use_reentrant": False}
    if selective:
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
