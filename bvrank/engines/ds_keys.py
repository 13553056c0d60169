"""Which of DeepSpeed's own keys may be given, and where bvrank has a key of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bvrank.errors import ConfigError, did_you_mean

OURS = {
    "train_batch_size": "batch", "train_micro_batch_size_per_gpu": "micro",
    "gradient_accumulation_steps": "micro", "managed_gradient_accumulation": "micro",
    "gradient_clipping": "max_grad_norm", "optimizer": "optimizer", "scheduler": "scheduler",
    "fp16": "precision", "bf16": "precision", "torch_autocast": "precision",
    "activation_checkpointing": "activation_checkpointing", "steps_per_print": "log.every",
    "tensorboard": "tracker", "wandb": "tracker", "csv_monitor": "tracker",
}  # fmt: skip
"""DeepSpeed's keys whose say is with a key of bvrank's own."""

THEIRS = (
    "zero_optimization", "communication_data_type", "prescale_gradients",
    "gradient_predivide_factor",
)  # fmt: skip
ZERO3 = ("stage3_", "offload_param", "sub_group_size", "zero_hpz_", "zero_quantized_", "mics_")


def check_key(key: str) -> None:
    """ConfigError for a top-level key that bvrank sets itself or DeepSpeed does not know."""
    if key in OURS:
        raise ConfigError(
            "is set by bvrank", where=f"ds.{key}", repair=f"Its name here is {OURS[key]}."
        )
    if key not in THEIRS:
        raise ConfigError(
            "there is no such key", where=f"ds.{key}", repair=did_you_mean(key, THEIRS)
        )


def check_zero(zero: Mapping[str, Any], stage: int, schema: Any) -> None:
    """Each key of zero_optimization: known, of its type, and of effect at this stage; ConfigError
    for one that is not. `schema` is DeepSpeed's pydantic class."""
    place = "ds.zero_optimization"
    if "stage" in zero:
        raise ConfigError("is the engine's name", where=f"{place}.stage", repair="engine=zero2.")
    from pydantic import ValidationError

    fields = schema.model_fields
    known = {*fields, *(str(f.alias) for f in fields.values() if f.alias)}
    for key, value in zero.items():
        where = f"{place}.{key}"
        if key not in known:
            raise ConfigError("there is no such key", where=where, repair=did_you_mean(key, known))
        if stage == 0 or (stage < 3 and key.startswith(ZERO3)):
            raise ConfigError(f"has no effect at stage {stage}", where=where)
        if key.startswith("offload_") and dict(value or {}).get("device") == "nvme":
            raise ConfigError(
                "states on nvme cannot be saved exactly", where=where, repair="Use device: cpu."
            )
    try:
        schema(stage=stage, **zero)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise ConfigError(first["msg"], where=where) from error
