"""The policy as the settings want it: dtype, adapter, recomputation, compilation; its optimizer."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from bvrank.commands.settings import TrainSettings
from bvrank.scoring.compiling import compile_layers
from bvrank.scoring.recompute import checkpoint_activations
from bvrank.scoring.scorer import Scorer

CHUNK, CHUNK_ELSEWHERE = 1024, 4096  # scored tokens that pass the head at a time
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
        selective = settings.activation_checkpointing == "selective"
        checkpoint_activations(model, selective=selective, exact=settings.precision == "fp64")
    if settings.compile:
        compile_layers(model)
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


def scorer_of(model: Any, settings: TrainSettings, device: torch.device) -> Scorer:
    """The module that engines wrap, on `device`."""
    chunk = settings.scoring.chunk or (CHUNK if device.type == "cpu" else CHUNK_ELSEWHERE)
    return Scorer(model, chunk=chunk).to(device)


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
