"""Weights to and from policy/ folders: safetensors only, exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bvrank.errors import ModelError


def save_policy(model: Any, folder: Path, weights: dict[str, Tensor] | None = None
                ) -> list[Path]:  # fmt: skip
    """Writes `folder` so that transformers (or peft, for an adapter) loads it. The tokenizer that
    the model was loaded with (`model.bvrank_tokenizer`) goes along. `weights`: by name, for a
    model whose own are not whole. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict=weights)
    tokenizer = getattr(model, "bvrank_tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return sorted(p for p in folder.rglob("*") if p.is_file())


def load_weights(model: Any, folder: Path) -> None:
    """Copies the weights of `folder` into `model`; every weight that trains must be there."""
    if hasattr(model, "peft_config"):
        _load_adapter(model, folder)
        return
    dtype = next(model.parameters()).dtype
    saved = type(model).from_pretrained(folder, dtype=dtype, local_files_only=True)
    _copy(saved.state_dict(), model.state_dict(), folder)


def _load_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    _copy(load_file(folder / "adapter_model.safetensors"), get_peft_model_state_dict(model), folder)


def _copy(source: dict[str, Tensor], target: dict[str, Tensor], folder: Path) -> None:
    if set(source) != set(target):
        odd = sorted(set(source) ^ set(target))[:3]
        raise ModelError(
            f"weights do not match the model, first: {', '.join(odd)}", where=str(folder)
        )
    for name, tensor in target.items():
        tensor.copy_(source[name])
