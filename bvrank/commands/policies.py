"""The policy that `bvrank sample` draws from: weights, template, and the scorer over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from bvrank.commands import prepare
from bvrank.commands.sampling import Request
from bvrank.data.templates import Template
from bvrank.engines.local import device
from bvrank.models.corpus import Corpus
from bvrank.models.tiny import Tiny
from bvrank.ranks import ALONE, Ranks
from bvrank.records import TokenBatch
from bvrank.sampling.responses import Prompt
from bvrank.scoring.collate import Collator
from bvrank.scoring.scorer import Scorer, cost_of, packing

CHUNK = 1024  # scored tokens that pass the head at a time
TEXTS = 100_000  # prompts that a tokenizer of model=scratch is trained on


@dataclass(frozen=True)
class Policy:
    """A model and what it takes to draw from it and to score with it."""

    model: Any
    template: Template
    device: torch.device

    def collator(self) -> Collator:
        """Rows as training lays them out."""
        return Collator(packing(self.model, "forest", self.device), cost_of(self.model))

    def scorer(self) -> Callable[[TokenBatch], Tensor]:
        """Log-probs of a batch, as training computes them."""
        module = Scorer(self.model, chunk=CHUNK).eval()
        return lambda batch: module(batch.to(self.device)).cpu()


def load(asked: Request, ranks: Ranks = ALONE) -> Policy:
    """The policy of the config, where this rank computes; bf16 is of weights and arithmetic."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    where = device(asked.settings.device)
    if where.type == "cuda":
        where = torch.device("cuda", ranks.local)
    tokenizer = asked.model.tokenizer(Corpus(lambda: _texts(asked), asked.store))
    template = asked.settings.template.template(tokenizer)
    model = asked.model.model(tokenizer, asked.settings.seed)
    if isinstance(asked.model, Tiny):
        prepare.teach(asked.model, model, tokenizer, asked.store)
    model = asked.model.lora.wrap(model, asked.settings.seed)
    kind = torch.bfloat16 if asked.settings.precision == "bf16" else torch.float32
    return Policy(model.to(where, kind).eval(), template, where)


def ready(asked: Request) -> None:
    """Leaves in the store what every process would otherwise make."""
    if isinstance(asked.model, Tiny) or hasattr(asked.model, "vocabulary"):
        load(asked)


def _texts(asked: Request) -> Iterator[str]:
    found = (p for p in asked.prompts.prompts() if isinstance(p, Prompt))
    return (m.content for p in islice(found, TEXTS) for m in p.messages)
