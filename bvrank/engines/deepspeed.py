"""One process or many, by DeepSpeed: ZeRO stages 0 to 3 (arXiv 1910.02054).

stage 0  every rank holds everything, gradients are averaged
stage 1  optimizer states are divided among the ranks
stage 2  and gradients
stage 3  and weights: each layer's are gathered as it computes

The only file that knows DeepSpeed. Weights are fp32 in every stage, as in engines.local; bf16 is
autocast. Tested with DeepSpeed 0.19.8.
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

from bvrank.engines.ds_keys import ELEMENTWISE, check_keys, check_zero
from bvrank.engines.local import Precision, autocast, device, save_state
from bvrank.engines.sketch import Losses, Sketch, gradients_of
from bvrank.engines.zero import Divided, Shard, Whole
from bvrank.errors import ConfigError, ModelError
from bvrank.ranks import Ranks, process_group
from bvrank.records import TokenBatch, TokenRows


@dataclass(frozen=True)
class DeepSpeed:
    """Settings of a DeepSpeed engine. `offload`: what rests in the host's memory between uses: the
    optimizer's states, or (stage 3) weights as well. `ds` holds keys of DeepSpeed's own, under its
    names.

    ConfigError when the package is missing, for a key that DeepSpeed does not know, that bvrank
    sets itself, or that has no effect at this stage.
    """

    stage: Literal[0, 1, 2, 3]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ds: Mapping[str, Any] = field(default_factory=dict)
    offload: Literal["none", "optimizer", "all"] = "none"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("deepspeed") is None:
            raise ConfigError(
                "the package deepspeed is not installed",
                repair="pip install 'bvrank[deepspeed]', or engine=local.",
            )
        device(self.device)
        check_keys(self.ds)
        self._check_offload()
        if zero := self.zero():
            _check_zero(zero, self.stage, self.device)

    def zero(self) -> dict[str, Any]:
        """DeepSpeed's zero_optimization, less the stage."""
        parts = {"none": (), "optimizer": ("optimizer",), "all": ("optimizer", "param")}
        there = {f"offload_{part}": {"device": "cpu"} for part in parts[self.offload]}
        return {**there, **self.ds.get("zero_optimization", {})}

    def _check_offload(self) -> None:
        given = [k for k in self.ds.get("zero_optimization", {}) if k.startswith("offload_")]
        if self.offload != "none" and given:
            raise ConfigError(f"is said by ds.zero_optimization.{given[0]} as well",
                              where="offload", repair="Leave one of the two out.")  # fmt: skip
        if self.stage < {"none": 0, "optimizer": 1, "all": 3}[self.offload]:
            least = "zero3" if self.offload == "all" else "zero1, zero2 or zero3"
            raise ConfigError(f"{self.offload} has no effect at stage {self.stage}",
                              where="offload", repair=f"Set engine={least}.")  # fmt: skip

    def check(self, *, precision: Precision, processes: int, optimizer: str,
              compiled: bool = False, measured: bool = False) -> None:  # fmt: skip
        """ConfigError when a run of this precision, with this optimizer or so many processes of a
        machine, cannot be had; `measured`: with gradients of single views."""
        if measured and self.stage == 3:
            raise ConfigError(
                "zero3 divides weights and gradients, and gives no gradient of a view alone "
                "(objective.alpha=auto, probe.gradients)", where="engine",
                repair="Set engine=zero2, or alpha to a number and probe.gradients.every=0.",
            )  # fmt: skip
        if self.stage and optimizer not in ELEMENTWISE:
            raise ConfigError(
                "is not elementwise, so that it would compute something else on a part of the "
                f"weights (engine=zero{self.stage})", where="optimizer.name",
                repair=f"Set engine=zero0 or local, or one of {', '.join(ELEMENTWISE)}.",
            )  # fmt: skip
        there = torch.cuda.device_count()
        if device(self.device).type == "cuda" and processes > there:
            raise ConfigError(
                f"{processes} on a machine with {there} GPUs", where="launcher.processes",
                repair="Set launcher.processes=auto.",
            )  # fmt: skip
        if compiled and self.stage == 3:
            raise ConfigError(
                "a layer that is compiled does not gather its weights", where="compile",
                repair="Set compile=false, or engine=zero2.",
            )  # fmt: skip
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
            "zero_optimization": {**self.zero(), "stage": self.stage},
            "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": max(1, forwards),
            "gradient_clipping": clipping, "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False, "steps_per_print": None,
        }  # fmt: skip
        wrapped = _Cast(module.to(where), where, precision)
        process_group(where.type)
        with _quiet():
            try:
                engine, *_ = library(where).initialize(
                    model=wrapped, optimizer=optimizer, config=config, dist_init_required=False
                )
            except (AssertionError, ValueError) as error:  # keys that do not go together
                raise ConfigError(f"DeepSpeed refuses it ({error})", where="engine.ds") from error
        kind = {0: Whole, 3: Divided}.get(self.stage, Shard)
        return DeepSpeedEngine(
            kind(engine, max_grad_norm, _gathering), module, where, ranks, forwards
        )


class DeepSpeedEngine:
    """See protocols.Engine. `inner` knows what differs between the stages."""

    def __init__(self, inner: Shard, module: nn.Module, device: torch.device, ranks: Ranks,
                 forwards: int) -> None:  # fmt: skip
        self.inner, self.module, self.device = inner, module, device
        self.ranks, self.forwards, self._done = ranks, forwards, 0

    def expect(self, forwards: int) -> None:
        """The last of so many backwards brings the ranks together."""
        self.forwards = forwards

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

    def gradients(self, batch: TokenBatch, losses: Losses, sketch: Sketch) -> Tensor:
        """Projected gradients [L,D] of losses of the batch's log-probs, this rank's own (not stage
        3). Past DeepSpeed, which would take a forward with gradients for one of a step."""
        inner: nn.Module = self.inner.engine.module

        def score(given: TokenBatch) -> Tensor:
            values: Tensor = inner(given.to(self.device), ())
            return values

        return gradients_of(score, self.module, batch, losses, sketch)

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


def _gathering(weights: list[Any]) -> contextlib.AbstractContextManager[Any]:
    """While active, these weights are whole on every rank (stage 3)."""
    from deepspeed.runtime.zero import GatheredParameters

    whole: contextlib.AbstractContextManager[Any] = GatheredParameters(weights)
    return whole


def _blank(where: torch.device) -> TokenRows:
    """A row that passes through the model and scores nothing."""
    one = torch.zeros(1, 1, dtype=torch.int64, device=where)
    none = one.new_zeros(0)
    return TokenRows(one, one, one, None, none, none, none, 0)


def _shard_name(ranks: Ranks) -> str:
    return f"rank-{ranks.rank:05d}.pt"


def _check_zero(zero: Mapping[str, Any], stage: int, where: str) -> None:
    library(device(where))
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    check_zero(zero, stage, DeepSpeedZeroConfig)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed speaks on stdout, where tables and JSON of a command go."""
    logging.getLogger("DeepSpeed").addFilter(_only_errors)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
