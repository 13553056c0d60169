"""What differs between DeepSpeed's stages: stepping, forgetting, and what a rank keeps.

`engine` is DeepSpeed's; these classes reach into its optimizers (0.19.8). Nothing is pickled but
plain values and tensors.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bvrank.engines.local import clip
from bvrank.models.saving import load_weights, save_policy
from bvrank.ranks import Ranks

Gathering = Callable[[list[Any]], contextlib.AbstractContextManager[Any]]


class Shard:
    """Stages 1 and 2: whole weights, a part of the optimizer's state."""

    gathers = False

    def __init__(self, engine: Any, max_grad_norm: float, gathering: Gathering) -> None:
        self.engine, self.max_grad_norm, self.gathering = engine, max_grad_norm, gathering

    def step(self) -> float:
        """Steps; the norm before clipping, not finite for a step that was left out."""
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


class Whole(Shard):
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


class Divided(Shard):
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
        weights = self._gathered(model, ranks)
        return save_policy(model, folder, weights) if ranks.first else []

    def plain(self, model: Any, fresh: Callable[[], Any], ranks: Ranks) -> Any:
        weights = self._gathered(model, ranks)
        if not ranks.first:
            return None
        made = fresh()
        made.load_state_dict(weights, strict=False)
        return made

    def _gathered(self, model: Any, ranks: Ranks) -> dict[str, Tensor]:
        """The weights to save, whole and on the CPU, one at a time; empty but on the first rank.
        Tied weights stay one tensor, and of an adapted model the adapter alone is taken."""
        adapter, found = hasattr(model, "peft_config"), {}
        kept: dict[int, Tensor] = {}
        for name, weight in model.named_parameters(remove_duplicate=False):
            if adapter and not weight.requires_grad:
                continue
            if id(weight) not in kept:
                with self.gathering([weight]):
                    whole = weight.detach().to("cpu", copy=True) if ranks.first else torch.empty(0)
                kept[id(weight)] = whole
            found[name] = kept[id(weight)]
        return found if ranks.first else {}

    @staticmethod
    @contextlib.contextmanager
    def _groups(optimizer: Any) -> Iterator[None]:
        """DeepSpeed keeps the groups of the inner optimizer empty between steps."""
        optimizer._set_fp32_optimizer_param_groups()
        try:
            yield
        finally:
            optimizer._clear_fp32_optimizer_param_groups()
