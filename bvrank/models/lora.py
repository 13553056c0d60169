"""Low-rank adapters by peft (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bvrank.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LoRA:
    """r = 0 and no path: full fine-tuning. `path` is an adapter that training goes on from; the
    reference is then the model with that adapter as loaded, not the bare base model.

    `targets`: "all-linear", or names of the modules that get an adapter.
    """

    r: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    path: str | None = None

    def __post_init__(self) -> None:
        if self.r < 0:
            raise ConfigError(f"must be at least 0, got {self.r}", where="r")
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.alpha}", where="alpha")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"must lie in [0, 1), got {self.dropout}", where="dropout")
        if self.path is not None and self.r:
            raise ConfigError(
                "the adapter at model.lora.path has a rank of its own",
                where="r",
                repair="Set model.lora.r=0.",
            )
        if not self.r:
            self._check_unused()
        for name in ("adapter_config.json", "adapter_model.safetensors") if self.path else ():
            if not (Path(str(self.path)) / name).is_file():
                raise ConfigError(
                    f"'{self.path}' holds no {name}",
                    where="path",
                    repair="Name a folder that peft's save_pretrained wrote.",
                )

    def _check_unused(self) -> None:
        """Settings of a new adapter say nothing where none is made."""
        for name in ("alpha", "dropout", "targets"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                why = "the adapter at model.lora.path has its own" if self.path else "r is 0"
                raise ConfigError(f"has no effect: {why}", where=name)

    @property
    def on(self) -> bool:
        return bool(self.r or self.path)

    @property
    def new(self) -> bool:
        """Whether the adapter is a new one, which adds exactly 0 until it is trained."""
        return self.on and self.path is None

    def wrap(self, model: Any, seed: int) -> Any:
        """`model` with the adapter, alone trainable. ModelError when no module fits `targets`."""
        if not self.on:
            return model
        import torch
        from peft import LoraConfig, PeftModel, get_peft_model

        try:
            if self.path is not None:
                return PeftModel.from_pretrained(model, self.path, is_trainable=True)
            targets = self.targets if isinstance(self.targets, str) else list(self.targets)
            config = LoraConfig(
                r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout,  # type: ignore[arg-type]
                target_modules=targets, task_type="CAUSAL_LM",
            )  # fmt: skip
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return get_peft_model(model, config)
        except (ValueError, OSError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise ModelError(
                f"no adapter can be put on this model ({why})", where="model.lora"
            ) from error


def bare_weights(model: Any) -> dict[str, Tensor]:
    """Every weight but the adapter's, under the names of the model without one."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = model.get_base_model()
    found: dict[str, Tensor] = base.state_dict()
    wrapped: list[tuple[str, Any]] = [
        (n, m) for n, m in base.named_modules() if isinstance(m, BaseTunerLayer)
    ]
    for name, layer in wrapped:
        for key in layer.state_dict():
            del found[f"{name}.{key}"]
        below = layer.get_base_layer().state_dict()
        found |= {f"{name}.{key}": weight for key, weight in below.items()}
    return found
