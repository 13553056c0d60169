"""What the rewards that are models share: their settings, and what lies in their folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch

from bvrank.data.dates import parsed_date
from bvrank.data.fingerprint import fingerprint
from bvrank.engines.local import device
from bvrank.errors import ConfigError, ModelError
from bvrank.models.folder import Folder
from bvrank.rewards.rendering import Conversation

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reward model that reads a conversation. `path`: a folder, or a hub id (`revision`: its
    branch, tag or commit); safetensors only, and no code of it is run.

    `template`: a Jinja file in place of the chat template; `date`: for templates that print one.
    `max_length`: tokens of a conversation (None: the model's positions); a longer one has no score.
    `batch_tokens`: of a forward, padding included. In fp32 a score is the same to 1e-5 whatever
    stands in its batch; bf16 is faster, and keeps two to three digits.
    """

    path: str
    revision: str | None = None
    template: str | None = None
    date: str = "2024-07-26"
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "auto"
    max_length: int | None = None
    batch_tokens: int = 16384
    together: ClassVar[int | None] = 512
    needs_gold: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Folder(self.path, self.revision)
        parsed_date(self.date)
        for name in ("max_length", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"must be at least 1, got {value}", where=name)

    @property
    def _folder(self) -> Folder:
        return Folder(self.path, self.revision, key="reward")

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return self._folder.loaded(AutoConfig.from_pretrained, "configuration")

    @cached_property
    def _conversation(self) -> Conversation:
        return Conversation(self._folder.tokenizer(), self.path, self.template, self.date)

    @cached_property
    def _place(self) -> torch.device:
        try:
            return device(self.device)
        except ConfigError as error:
            raise ConfigError(error.what, where="reward.device", repair=error.repair) from None

    @property
    def _longest(self) -> int:
        """Tokens at most. ConfigError when `max_length` goes beyond the model's positions."""
        positions: int | None = getattr(
            self._config.get_text_config(), "max_position_embeddings", None
        )
        longest = self.max_length or positions
        if longest is None:
            raise ConfigError("needs a value: the model does not say", where="reward.max_length")
        if positions is not None and longest > positions:
            raise ConfigError(
                f"is {longest}, but the model has {positions} positions",
                where="reward.max_length",
            )
        return longest

    def _identified(self, kind: str, **more: Any) -> str:
        """What decides the scores, as JSON: weights by content here, by commit on the hub."""
        local = self._folder.local.exists()
        commit = getattr(self._config, "_commit_hash", None) or self.revision
        weights = fingerprint({"path": self.path}) if local else f"{self.path}@{commit}"
        told = {"reward": kind, "weights": weights, "template": self._conversation.identity,
                "precision": self.precision, "longest": self._longest, **more}  # fmt: skip
        return json.dumps(told, sort_keys=True)

    def _loaded(self, load: Any, what: str, repair: str) -> Any:
        """The model in eval mode, on its device. ModelError when a weight is missing or left over:
        transformers would draw the missing ones at random."""
        model, told = self._folder.weights(
            load, what, dtype=DTYPES[self.precision], output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, by name
        )  # fmt: skip
        odd = {k: sorted(map(str, told[f"{k}_keys"])) for k in ("missing", "unexpected")}
        odd["of another shape"] = sorted(str(k[0]) for k in told.get("mismatched_keys", ()))
        found = [f"{what}: {_few(names)}" for what, names in odd.items() if names]
        if found:
            raise ModelError(
                f"is no {what}: weights {'; '.join(found)}", where=self.path, repair=repair
            )
        return model.eval().requires_grad_(False).to(self._place)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
