"""One process, plain torch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bvrank.errors import ConfigError
from bvrank.models.saving import load_weights, save_policy
from bvrank.records import TokenBatch

Precision = Literal["fp32", "bf16", "fp64"]


@dataclass(frozen=True)
class Local:
    """Settings of the local engine. `device`: auto takes an accelerator when there is one.
    ConfigError when the device does not exist."""

    device: str = "auto"

    def __post_init__(self) -> None:
        device(self.device)

    def start(self, module: nn.Module, optimizer: torch.optim.Optimizer, *,
              precision: Precision, max_grad_norm: float) -> LocalEngine:  # fmt: skip
        """The running engine."""
        return LocalEngine(module, optimizer, device(self.device), precision, max_grad_norm)


class LocalEngine:
    """See protocols.Engine. bf16 computes in bf16 under autocast and keeps fp32 weights."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device,
                 precision: Precision, max_grad_norm: float) -> None:  # fmt: skip
        self.module, self.optimizer, self.device = module.to(device), optimizer, device
        self.precision, self.max_grad_norm = precision, max_grad_norm

    def score(self, batch: TokenBatch) -> Tensor:
        """Log-probs [V,B,K] of the batch's candidates."""
        with self._autocast():
            values: Tensor = self.module(batch.to(self.device))
        return values

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss`, a share of the global loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> float:
        """Clips, steps, zeroes; returns the norm before clipping. Non-finite: changes nothing."""
        weights = [p for p in self.module.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        value = float(norm)
        if torch.isfinite(norm):
            nn.utils.clip_grads_with_norm_(weights, self.max_grad_norm, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self.discard()
        return value

    def discard(self) -> None:
        """Forgets accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def sum(self, values: Tensor) -> Tensor:
        """One process: the values themselves."""
        return values

    def save(self, folder: Path) -> None:
        """policy/ (safetensors, loads with transformers) and engine/optimizer.pt."""
        save_policy(self.module.model, folder / "policy")
        (folder / "engine").mkdir(parents=True, exist_ok=True)
        torch.save(self.optimizer.state_dict(), folder / "engine" / "optimizer.pt")

    def load(self, folder: Path) -> None:
        """Restores weights and moments exactly."""
        load_weights(self.module.model, folder / "policy")
        path = folder / "engine" / "optimizer.pt"
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


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
