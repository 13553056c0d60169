"""The policy that `bvrank sample` draws from: weights, template, and the scorer over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from bvrank.commands import prepare
from bvrank.commands.build import build
from bvrank.data.templates import Template
from bvrank.engines.local import device
from bvrank.errors import ConfigError
from bvrank.models.corpus import Corpus
from bvrank.models.tiny import Tiny
from bvrank.ranks import ALONE, Ranks
from bvrank.records import TokenBatch
from bvrank.run.record import read_config
from bvrank.sampling.local import positions
from bvrank.sampling.responses import Prompt
from bvrank.scoring.collate import Collator
from bvrank.scoring.layout import Layout
from bvrank.scoring.scorer import Scorer, cost_of, packing

CHUNK = 1024  # scored tokens that pass the head at a time
TEXTS = 100_000  # prompts that a tokenizer of model=scratch is trained on


class Wanted(Protocol):
    """What a command asks for: its settings (precision, seed, device, template), the model's, and
    the prompts, on which the tokenizer of model=scratch is trained."""

    @property
    def settings(self) -> Any: ...
    @property
    def model(self) -> Any: ...
    @property
    def prompts(self) -> Any: ...
    @property
    def store(self) -> Path: ...


@dataclass
class Policy:
    """A model and what it takes to draw from it and to score with it; weights are loaded when they
    are first asked for. `path` and `revision`: the folder or hub id, None of a model that is made;
    `narrow`: weights and arithmetic in bf16."""

    asked: Wanted
    tokenizer: Any
    template: Template
    device: torch.device

    @property
    def path(self) -> str | None:
        return getattr(self.asked.model, "path", None)

    @property
    def revision(self) -> str | None:
        return getattr(self.asked.model, "revision", None)

    @property
    def narrow(self) -> bool:
        return bool(self.asked.settings.precision == "bf16")

    @cached_property
    def model(self) -> Any:
        """The weights, where this rank computes."""
        node, seed = self.asked.model, self.asked.settings.seed
        model = node.model(self.tokenizer, seed)
        if isinstance(node, Tiny):
            prepare.teach(node, model, self.tokenizer, self.asked.store)
        model = node.lora.wrap(model, seed)
        return model.to(self.device, torch.bfloat16 if self.narrow else torch.float32).eval()

    @property
    def positions(self) -> int:
        """How many tokens the model's positions reach; known without its weights."""
        return positions(self.asked.model.skeleton())

    def other(self, model: Any) -> Policy:
        """Another model's weights behind the same template. ConfigError where its tokens differ."""
        asked: Any = self.asked
        tokenizer = model.tokenizer(Corpus(lambda: _texts(asked), asked.store))
        if tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ConfigError("has other tokens than the model that is measured: their likelihoods "
                              "cannot be compared", where="task.reference")  # fmt: skip
        return replace(self, asked=replace(asked, model=model))

    def start(self) -> Policy:
        """What the run that is measured was trained from."""
        asked: Any = self.asked
        if asked.subject.run is None:
            raise ConfigError("start is that of a run", where="task.reference",
                              repair="Name a run with run=..., or a model's folder.")  # fmt: skip
        node = read_config(asked.subject.run)["model"]
        return self.other(build(node, "model", asked.settings.trusted))

    def collator(self, layout: Layout = "forest") -> Collator:
        """Rows as training lays them out."""
        return Collator(packing(self.model, layout, self.device), cost_of(self.model))

    def scorer(self) -> Callable[[TokenBatch], Tensor]:
        """Log-probs of a batch, as training computes them."""
        module = Scorer(self.model, chunk=CHUNK).eval()
        return lambda batch: module(batch.to(self.device)).cpu()


def load(asked: Wanted, ranks: Ranks = ALONE) -> Policy:
    """The policy of the config, for this rank."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    where = device(asked.settings.device)
    if where.type == "cuda":
        where = torch.device("cuda", ranks.local)
    tokenizer = asked.model.tokenizer(Corpus(lambda: _texts(asked), asked.store))
    return Policy(asked, tokenizer, asked.settings.template.template(tokenizer), where)


def ready(asked: Wanted) -> None:
    """Leaves in the store what every process would otherwise make."""
    if isinstance(asked.model, Tiny) or hasattr(asked.model, "vocabulary"):
        load(asked).model.eval()


def _texts(asked: Wanted) -> Iterator[str]:
    found = (p for p in asked.prompts.prompts() if isinstance(p, Prompt))
    return (m.content for p in islice(found, TEXTS) for m in p.messages)
