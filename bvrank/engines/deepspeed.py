"""One process or many, by DeepSpeed: ZeRO stages 0 to 3 (arXiv 1910.02054).

stage 0  every rank holds everything, gradients are averaged
stage 1  optimizer states are divided among the ranks
stage 2  and gradients
stage 3  and weights: each layer's are gathered as it computes

The only file that knows DeepSpeed. Weights are fp32 in every stage, as in engines.local; bf16 is
autocast. Tested with DeepSpeed 0.19.8: `_Shard` and `_Divided` reach into its optimizers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bvrank.engines.local import Precision, autocast, clip, device, save_state
from bvrank.errors import ConfigError, ModelError, did_you_mean
from bvrank.models.saving import load_weights, save_policy
from bvrank.ranks import Ranks, process_group
from bvrank.records import TokenBatch, TokenRows

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


@dataclass(frozen=True)
class DeepSpeed:
    """Settings of a DeepSpeed engine. `ds` holds keys of DeepSpeed's own, under its names.

    ConfigError when the package is missing, for a key that DeepSpeed does not know, that bvrank
    sets itself, or that has no effect at this stage.
    """

    stage: Literal[0, 1, 2, 3]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ds: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("deepspeed") is None:
            raise ConfigError(
                "the package deepspeed is not installed",
                repair="pip install 'bvrank[deepspeed]', or engine=local.",
            )
        device(self.device)
        for key in self.ds:
            _check_key(key)
        zero = self.ds.get("zero_optimization", {})
        if zero:
            _check_zero(zero, self.stage)

    def check(self, *, precision: Precision, processes: int) -> None:
        """ConfigError when a run of this precision cannot be had."""
        if precision == "fp64":
            raise ConfigError(
                "DeepSpeed has no fp64", where="precision", repair="Set engine=local, or fp32."
            )

    def place(self, ranks: Ranks) -> torch.device:
        """Where this rank computes."""
        where = device(self.device)
        return torch.device("cuda", ranks.local) if where.type == "cuda" else where

    def start(self, module: nn.Module, optimizer: torch.optim.Optimizer, *, precision: Precision,
              max_grad_norm: float, ranks: Ranks, forwards: int) -> DeepSpeedEngine:  # fmt: skip
        """The running engine; `forwards` per optimiser step and rank."""
        where = self.place(ranks)
        clipping = max_grad_norm if self.stage and math.isfinite(max_grad_norm) else 0.0
        config = {
            **self.ds,
            "zero_optimization": {**self.ds.get("zero_optimization", {}), "stage": self.stage},
            "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": forwards,
            "gradient_clipping": clipping, "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False, "steps_per_print": None,
        }  # fmt: skip
        wrapped = _Cast(module.to(where), where, precision)
        process_group()
        with _quiet():
            try:
                engine, *_ = library(where).initialize(
                    model=wrapped, optimizer=optimizer, config=config, dist_init_required=False
                )
            except (AssertionError, ValueError) as error:  # keys that do not go together
                raise ConfigError(f"DeepSpeed refuses it ({error})", where="engine.ds") from error
        kind = {0: _Whole, 3: _Divided}.get(self.stage, _Shard)
        return DeepSpeedEngine(kind(engine, max_grad_norm), module, where, ranks, forwards)


class DeepSpeedEngine:
    """See protocols.Engine. `inner` knows what differs between the stages."""

    def __init__(self, inner: _Shard, module: nn.Module, device: torch.device, ranks: Ranks,
                 forwards: int) -> None:  # fmt: skip
        self.inner, self.module, self.device = inner, module, device
        self.ranks, self.forwards, self._done = ranks, forwards, 0

    def score(self, batch: TokenBatch) -> Tensor:
        """Log-probs [V,B,K] of the batch's candidates."""
        batch = batch.to(self.device)
        parts: tuple[int, ...] = ()
        if self.inner.gathers and self.ranks.world > 1:
            batch, parts = self._in_step(batch)
        values: Tensor = self.inner.engine(batch, parts)
        return values

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss`, a share of the global loss. The last of a step's backwards
        brings the ranks together: DeepSpeed takes the mean over ranks, hence the factor."""
        self._done += 1
        self.inner.engine.set_gradient_accumulation_boundary(self._done == self.forwards)
        self.inner.engine.backward(loss * self.ranks.world, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """Clips, steps, zeroes; returns the norm before clipping. Non-finite: changes nothing."""
        if self._done != self.forwards:
            raise RuntimeError(f"{self._done} backwards in a step of {self.forwards}")
        self._done = 0
        for group in self.inner.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        return self.inner.step()

    def discard(self) -> None:
        """Forgets accumulated gradients."""
        self._done = 0
        self.inner.discard()

    def plain(self, fresh: Callable[[], Any]) -> Any:
        """The model as it is now, outside of the engine; None on all ranks but the first."""
        return self.inner.plain(self.module.model, fresh, self.ranks)

    def save(self, folder: Path) -> list[Path]:
        """policy/ by the first rank, engine/rank-NNNNN.pt by each."""
        written = self.inner.save_policy(self.module.model, folder / "policy", self.ranks)
        return [*written, save_state(self.inner.state(), folder, _shard_name(self.ranks))]

    def load(self, folder: Path) -> None:
        """Restores weights and moments exactly. ModelError when another number of ranks, or
        another engine, wrote them."""
        shards = sorted(p.name for p in (folder / "engine").iterdir())
        if len(shards) != self.ranks.world or _shard_name(self.ranks) not in shards:
            raise ModelError(
                f"written by {len(shards)} processes ({', '.join(shards[:3])}), "
                f"and here are {self.ranks.world}", where=str(folder / "engine"),
                repair="Resume with the engine and launcher.processes it was written with.",
            )  # fmt: skip
        state = torch.load(
            folder / "engine" / _shard_name(self.ranks), map_location="cpu", weights_only=True
        )
        self.inner.load(self.module.model, folder / "policy", state)

    def _in_step(self, batch: TokenBatch) -> tuple[TokenBatch, tuple[int, ...]]:
        """The batch with as many forwards of the model, and chunks of its head, as the rank with
        the most: weights are gathered by all ranks together, so none may have fewer."""
        chunk: int = self.module.chunk  # type: ignore[assignment]
        own = [math.ceil(len(rows.source) / chunk) for rows in batch.rows]
        all_of_them = self.ranks.gather(own)
        most = max(map(len, all_of_them))
        padded = [counts + [0] * (most - len(counts)) for counts in all_of_them]
        blanks = tuple(_blank(self.device) for _ in range(most - len(own)))
        return replace(batch, rows=batch.rows + blanks), tuple(map(max, zip(*padded, strict=True)))


class _Shard:
    """Stages 1 and 2: whole weights, a part of the optimizer's state."""

    gathers = False

    def __init__(self, engine: Any, max_grad_norm: float) -> None:
        self.engine, self.max_grad_norm = engine, max_grad_norm

    def step(self) -> float:
        with _quiet():
            self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def discard(self) -> None:
        optimizer = self.engine.optimizer
        optimizer.zero_grad(set_to_none=True)
        optimizer._release_preflattened_grad_buffers()
        optimizer.micro_step_id = -1  # as at the end of its step()
        for group in range(len(optimizer.bit16_groups)):
            optimizer.averaged_gradients[group] = optimizer.all_grad_tensors[group] = None

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.engine.optimizer.optimizer.state_dict()}

    def load(self, model: Any, policy: Path, state: dict[str, Any]) -> None:
        load_weights(model, policy)
        self.engine.optimizer.refresh_fp32_params()
        self.engine.optimizer.optimizer.load_state_dict(state["optimizer"])

    def save_policy(self, model: Any, folder: Path, ranks: Ranks) -> list[Path]:
        return save_policy(model, folder) if ranks.first else []

    def plain(self, model: Any, fresh: Callable[[], Any], ranks: Ranks) -> Any:
        return model if ranks.first else None


class _Whole(_Shard):
    """Stage 0: a plain optimizer. DeepSpeed would step on a gradient that is not finite."""

    def step(self) -> float:
        norm = clip(self.engine.module, self.max_grad_norm)
        if math.isfinite(norm):
            self.engine.step()
        self.discard()
        return norm

    def discard(self) -> None:
        self.engine.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.engine.optimizer.state_dict()}

    def load(self, model: Any, policy: Path, state: dict[str, Any]) -> None:
        load_weights(model, policy)
        self.engine.optimizer.load_state_dict(state["optimizer"])


class _Divided(_Shard):
    """Stage 3: nothing is whole anywhere."""

    gathers = True

    def discard(self) -> None:
        self.engine.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        optimizer = self.engine.optimizer
        with self._groups(optimizer):
            state = optimizer.optimizer.state_dict()
        return {"optimizer": state, "weights": list(optimizer.fp32_partitioned_groups_flat)}

    def load(self, model: Any, policy: Path, state: dict[str, Any]) -> None:
        optimizer = self.engine.optimizer
        with self._groups(optimizer):
            optimizer.optimizer.load_state_dict(state["optimizer"])
        flat = zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_partitioned_groups_flat,
                   state["weights"], strict=True)  # fmt: skip
        for master, working, saved in flat:
            master.data.copy_(saved)
            working.data.copy_(saved)

    def save_policy(self, model: Any, folder: Path, ranks: Ranks) -> list[Path]:
        weights = _gathered(model, ranks)
        return save_policy(model, folder, weights) if ranks.first else []

    def plain(self, model: Any, fresh: Callable[[], Any], ranks: Ranks) -> Any:
        weights = _gathered(model, ranks)
        if not ranks.first:
            return None
        made = fresh()
        made.load_state_dict(weights, strict=False)
        return made

    @staticmethod
    @contextlib.contextmanager
    def _groups(optimizer: Any) -> Iterator[None]:
        """DeepSpeed keeps the groups of the inner optimizer empty between steps."""
        optimizer._set_fp32_optimizer_param_groups()
        try:
            yield
        finally:
            optimizer._clear_fp32_optimizer_param_groups()


class _Cast(nn.Module):
    """The scorer under autocast: DeepSpeed turns off what is entered outside of its forward."""

    def __init__(self, scorer: nn.Module, device: torch.device, precision: Precision) -> None:
        super().__init__()
        self.scorer, self._device, self._precision = scorer, device, precision

    def forward(self, batch: TokenBatch, parts: tuple[int, ...]) -> Tensor:
        with autocast(self._device, self._precision):
            values: Tensor = self.scorer(batch, parts)
        return values


def library(where: torch.device) -> Any:
    """The package, set up for `where`."""
    os.environ["DS_ACCELERATOR"] = where.type
    os.environ.setdefault("LOCAL_RANK", "0")  # without it DeepSpeed looks for MPI
    with _quiet():
        import deepspeed
        import deepspeed.ops

    # None of its own kernels is used. Asked which it could compile, it would run a compiler at
    # every start, and then compile an all-reduce through shared memory for 83 s (0.19.8).
    vars(deepspeed.ops)["__compatible_ops__"] = defaultdict(bool)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    return deepspeed


def _gathered(model: Any, ranks: Ranks) -> dict[str, Tensor]:
    """The weights to save, whole and on the CPU, one at a time; empty on all ranks but the first.
    Tied weights stay one tensor, and of an adapted model the adapter alone is taken."""
    from deepspeed.runtime.zero import GatheredParameters

    adapter, found = hasattr(model, "peft_config"), {}
    kept: dict[int, Tensor] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if adapter and not weight.requires_grad:
            continue
        if id(weight) not in kept:
            with GatheredParameters([weight]):
                whole = weight.detach().to("cpu", copy=True) if ranks.first else torch.empty(0)
            kept[id(weight)] = whole
        found[name] = kept[id(weight)]
    return found if ranks.first else {}


def _blank(where: torch.device) -> TokenRows:
    """A row that passes through the model and scores nothing."""
    one = torch.zeros(1, 1, dtype=torch.int64, device=where)
    none = one.new_zeros(0)
    return TokenRows(one, one, one, None, none, none, none, 0)


def _shard_name(ranks: Ranks) -> str:
    return f"rank-{ranks.rank:05d}.pt"


def _check_key(key: str) -> None:
    if key in OURS:
        raise ConfigError(
            "is set by bvrank", where=f"ds.{key}", repair=f"Its name here is {OURS[key]}."
        )
    if key not in THEIRS:
        raise ConfigError(
            "there is no such key", where=f"ds.{key}", repair=did_you_mean(key, THEIRS)
        )


def _check_zero(zero: Mapping[str, Any], stage: int) -> None:
    """Each key of zero_optimization: known, of its type, and of effect at this stage."""
    place = "ds.zero_optimization"
    if "stage" in zero:
        raise ConfigError("is the engine's name", where=f"{place}.stage", repair="engine=zero2.")
    from pydantic import ValidationError

    library(device("auto"))
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    fields = DeepSpeedZeroConfig.model_fields
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
        DeepSpeedZeroConfig(stage=stage, **zero)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise ConfigError(first["msg"], where=where) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed speaks on stdout, where tables and JSON of a command go."""
    logging.getLogger("DeepSpeed").addFilter(_only_errors)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
