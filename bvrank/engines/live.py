"""The reference scored as a batch comes, kept nowhere: by a second model, or by the policy itself
with its adapter off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bvrank.data.batches import Ahead, Stream
from bvrank.engines.local import Precision, autocast
from bvrank.protocols import Engine
from bvrank.records import TokenBatch
from bvrank.scoring.scorer import Scorer

Score = Callable[[TokenBatch], Tensor]


@dataclass(frozen=True)
class Live:
    """protocols.Batches over `batches`, with the reference [V,B,K] that `score` gives."""

    batches: Stream | Ahead
    score: Score

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`; one wait for the device a step."""
        return iter(self.filled(list(self.batches.step(number, views))))

    def once(self, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`."""
        for batch in self.batches.once(views):
            yield from self.filled([batch])

    def filled(self, batches: Sequence[TokenBatch]) -> list[TokenBatch]:
        """These batches with their reference."""
        found = [self.score(batch) for batch in batches]
        sizes = [values.numel() for values in found]
        parts = torch.split(torch.cat([values.flatten() for values in found]).cpu(), sizes)
        return [
            replace(batch, labels=replace(batch.labels, reference=part.view_as(values)))
            for batch, part, values in zip(batches, parts, found, strict=True)
        ]


def second_model(frozen: Scorer, device: torch.device, precision: Precision) -> Score:
    """Log-probs [V,B,K] by a model of its own, at the cost of its memory on every rank."""
    frozen.to(device).eval().requires_grad_(False)

    def score(batch: TokenBatch) -> Tensor:
        with torch.no_grad(), autocast(device, precision):
            values: Tensor = frozen(batch.to(device))
        return values

    return score


def base_below(engine: Engine) -> Score:
    """Log-probs [V,B,K] by the engine's policy with its adapter off, at no cost of memory."""
    module: nn.Module = engine.module
    policy: Any = module.model

    def score(batch: TokenBatch) -> Tensor:
        with torch.no_grad(), untouched(module, engine.device), policy.disable_adapter():
            return engine.score(batch)

    return score


@contextlib.contextmanager
def untouched(module: nn.Module, device: torch.device) -> Iterator[None]:
    """`module` in eval mode; behind it the mode and the random state are what they were."""
    training, drawing = module.training, [] if device.type == "cpu" else [device]
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(drawing, device_type=kind):
        module.eval()
        try:
            yield
        finally:
            module.train(training)
