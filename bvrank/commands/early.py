"""What a config asks for that is not there, told before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bvrank.commands.build import build
from bvrank.data.files import standing
from bvrank.models.lora import LoRA


def check_files(node: Mapping[str, Any]) -> None:
    """DataError for a file that a source of bvrank's own names and that is not there. What a key of
    another source means nobody here knows."""
    own = str(node.get("_target_", "")).startswith("bvrank.")
    for key, value in node.items():
        if isinstance(value, Mapping):
            check_files(value)
        elif own and key.endswith("path") and isinstance(value, str):
            standing(value)


def adapter(model: Any) -> LoRA | None:
    """The adapter that a node of the group `model` asks for; None where only building the model
    tells. ConfigError when it cannot be."""
    node = model.get("lora") if isinstance(model, Mapping) else None
    if not isinstance(node, Mapping) or node.get("_target_") != f"{LoRA.__module__}.LoRA":
        return None
    asked: LoRA = build(node, "model.lora")
    return asked
