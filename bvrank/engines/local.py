"""One process, plain torch."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bvrank.engines.sketch import Losses, Sketch, gradients_of
from bvrank.errors import ConfigError
from bvrank.models.saving import load_weights, save_policy
from bvrank.ranks import ALONE, Ranks
from bvrank.records import TokenBatch

Precision = Literal["fp32", "bf16", "fp64"]


@dataclass(frozen=True)
class Local:
    """Settings of the local engine. `device`: auto takes an accelerator when there is one.
    ConfigError when the device does not exist."""

    device: str = "auto"

    def __post_init__(self) -> None:
        device(self.device)

    def check(self, *, precision: Precision, processes: int, optimizer: str,
              compiled: bool = False, measured: bool = False) -> None:  # fmt: skip
        """ConfigError for more than one process."""
        if processes > 1:
            raise ConfigError(
                "is of one process", where="engine", repair="Set engine=zero0 (or zero1 to zero3), "
                "or launcher.processes=1."
            )  # fmt: skip

    def place(self, ranks: Ranks) -> torch.device:
        """Where it computes."""
        return device(self.device)

    def start(self, module: nn.Module, optimizer: torch.optim.Optimizer, *,
              precision: Precision, max_grad_norm: float, ranks: Ranks = ALONE, forwards: int = 1,
              ) -> LocalEngine:  # fmt: skip
        """The running engine."""
        return LocalEngine(module, optimizer, device(self.device), precision, max_grad_norm)


class LocalEngine:
    """See protocols.Engine. bf16 computes in bf16 under autocast and keeps fp32 weights."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device,
                 precision: Precision, max_grad_norm: float) -> None:  # fmt: skip
        self.module, self.optimizer, self.device = module.to(device), optimizer, device
        self.precision, self.max_grad_norm = precision, max_grad_norm
        self.ranks = ALONE

    def expect(self, forwards: int) -> None:
        """Nothing here depends on it."""

    def score(self, batch: TokenBatch) -> Tensor:
        """Log-probs [V,B,K] of the batch's candidates."""
        with autocast(self.device, self.precision):
            values: Tensor = self.module(batch.to(self.device))
        return values

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss`, a share of the global loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def gradients(self, batch: TokenBatch, losses: Losses, sketch: Sketch) -> Tensor:
        """Projected gradients [L,D] of losses of the batch's log-probs."""
        return gradients_of(self.score, self.module, batch, losses, sketch)

    def step(self, learning_rate: float) -> float:
        """Clips, steps, zeroes; returns the norm before clipping. Non-finite: changes nothing."""
        norm = clip(self.module, self.max_grad_norm)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self.discard()
        return norm

    def discard(self) -> None:
        """Forgets accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def plain(self, fresh: Callable[[], Any]) -> Any:
        """The model itself."""
        return self.module.model

    def save(self, folder: Path) -> list[Path]:
        """policy/ (safetensors, loads with transformers) and engine/optimizer.pt."""
        written = save_policy(self.module.model, folder / "policy")
        return [*written, save_state(self.optimizer.state_dict(), folder, "optimizer.pt")]

    def load(self, folder: Path) -> None:
        """Restores weights and moments exactly."""
        load_weights(self.module.model, folder / "policy")
        path = folder / "engine" / "optimizer.pt"
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state)


def save_state(state: Any, folder: Path, name: str) -> Path:
    """Writes `state` to engine/`name` below `folder`, equal states as equal bytes; the file."""
    path = folder / "engine" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(_fresh(state), path)
    return path


def _fresh(value: Any) -> Any:
    """A copy in which nothing is shared but equal strings: a pickle tells objects that are one from
    objects that are equal."""
    if isinstance(value, dict):
        return {_fresh(k): _fresh(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_fresh, value))
    if isinstance(value, Tensor):
        return value.detach()
    return sys.intern(value) if isinstance(value, str) else value


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """What a forward pass of this precision runs in."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def clip(module: nn.Module, limit: float) -> float:
    """Scales the gradients of `module` down to the global norm `limit`; returns the norm before.
    A norm that is not finite leaves them as they are."""
    weights = [p for p in module.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    found = float(norm)
    if limit <= found + 1e-6 < math.inf:  # else the factor is 1
        nn.utils.clip_grads_with_norm_(weights, limit, norm)
    return found


def device(name: str) -> torch.device:
    """The torch device called `name`; auto: the accelerator, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return found or torch.device("cpu")
    try:
        wanted = torch.device(name)
        torch.empty(0, device=wanted)
        if wanted.type not in ("cpu", found.type if found else "cpu"):
            raise RuntimeError(f"{wanted.type} does not train")
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"no such device here: {why}", where="device", repair="Use auto."
        ) from None
    return wanted
