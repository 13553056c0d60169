"""Which of DeepSpeed's own keys may be given, and where bvrank has a key of its own.

What is accepted is honoured: a key that DeepSpeed knows and that would do nothing here, or that
nobody has tried here, is refused.
"""

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
TYPES = ("fp32", "fp16", "bf16")

# Keys of zero_optimization by the stages at which they do something.
DIVIDING = ("contiguous_gradients", "reduce_scatter", "reduce_bucket_size", "overlap_comm",
            "offload_optimizer")  # fmt: skip
KEEPING = ("allgather_partitions", "allgather_bucket_size", "round_robin_gradients",
           "use_multi_rank_bucket_allreduce", "ignore_unused_parameters")  # fmt: skip
GATHERING = (
    "offload_param", "sub_group_size", "memory_efficient_linear", "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold", "stage3_model_persistence_threshold",
    "stage3_max_live_parameters", "stage3_max_reuse_distance",
    "stage3_module_granularity_threshold", "stage3_use_all_reduce_for_fetch_params",
    "stage3_allgather_sequential",
)  # fmt: skip
AT: dict[int, tuple[str, ...]] = {
    0: (), 1: DIVIDING + KEEPING, 2: DIVIDING + KEEPING, 3: DIVIDING + GATHERING,
}  # fmt: skip

ELEMENTWISE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop",
               "Rprop", "SGD", "ASGD")  # fmt: skip
"""Optimizers that update a flat slice of the weights as they would the whole."""


def check_keys(ds: Mapping[str, Any]) -> None:
    """ConfigError for a top-level key that bvrank sets itself, that DeepSpeed does not know, or
    whose value is none."""
    for key, value in ds.items():
        where = f"ds.{key}"
        if key in OURS:
            raise ConfigError("is set by bvrank", where=where, repair=f"Its name is {OURS[key]}.")
        if key not in THEIRS:
            raise ConfigError("there is no such key", where=where, repair=did_you_mean(key, THEIRS))
        if key == "communication_data_type" and value not in TYPES:
            raise ConfigError(f"must be one of {', '.join(TYPES)}, got {value}", where=where)
        if key == "prescale_gradients" and not isinstance(value, bool):
            raise ConfigError(f"must be true or false, got {value}", where=where)
        if key == "gradient_predivide_factor":
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ConfigError(f"must be greater than 0, got {value}", where=where)
            if not ds.get("prescale_gradients"):
                raise ConfigError("has no effect without ds.prescale_gradients=true", where=where)


def check_zero(zero: Mapping[str, Any], stage: int, schema: Any) -> None:
    """Each key of zero_optimization: known, of its type, and of effect at this stage; ConfigError
    for one that is not. `schema` is DeepSpeed's pydantic class."""
    place = "ds.zero_optimization"
    if "stage" in zero:
        raise ConfigError("is the engine's name", where=f"{place}.stage", repair="engine=zero2.")
    from pydantic import ValidationError

    for key, value in zero.items():
        _check_effect(key, stage, schema, f"{place}.{key}")
        if key.startswith("offload_") and dict(value or {}).get("device") == "nvme":
            raise ConfigError(
                "states on nvme cannot be saved exactly", where=f"{place}.{key}",
                repair="Use device: cpu.",
            )  # fmt: skip
    try:
        schema(stage=stage, **zero)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise ConfigError(first["msg"], where=where) from error


def _check_effect(key: str, stage: int, schema: Any, where: str) -> None:
    if key in AT[stage]:
        return
    every = sorted({name for names in AT.values() for name in names})
    if key in every:
        raise ConfigError(f"has no effect at stage {stage}", where=where)
    known = {*schema.model_fields, *(f.alias for f in schema.model_fields.values())}
    if key in known:
        longer = f"stage3_{key}"
        told = f"Its name is {longer}." if longer in every else ""
        raise ConfigError("is not one that bvrank passes on", where=where, repair=told)
    raise ConfigError("there is no such key", where=where, repair=did_you_mean(key, every))
