"""The reference scored when a batch comes, and kept nowhere: by a second model, or by the policy
with its adapter switched off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bvrank.data.batches import Ahead, Stream
from bvrank.engines.local import Precision, autocast
from bvrank.records import TokenBatch
from bvrank.scoring.scorer import Scorer

Score = Callable[[TokenBatch], Tensor]


@dataclass(frozen=True)
class Live:
    """protocols.Batches over `batches`, with the reference that `score` yields on `device`: a
    forward pass for each of them, and one wait for the device a step."""

    batches: Stream | Ahead
    score: Score
    device: torch.device
    precision: Precision

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`."""
        return iter(self._scored(list(self.batches.step(number, views))))

    def once(self, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`."""
        for batch in self.batches.once(views):
            yield from self._scored([batch])

    def _scored(self, batches: Sequence[TokenBatch]) -> list[TokenBatch]:
        with torch.no_grad(), autocast(self.device, self.precision):
            found = [self.score(batch.to(self.device)) for batch in batches]
        sizes = [values.numel() for values in found]
        parts = torch.split(torch.cat([values.flatten() for values in found]).cpu(), sizes)
        return [
            replace(batch, labels=replace(batch.labels, reference=part.view_as(values)))
            for batch, part, values in zip(batches, parts, found, strict=True)
        ]


def second_model(scorer: Scorer) -> Score:
    """By a model of its own, which takes its memory once more on every rank."""
    return scorer.eval().requires_grad_(False)


def adapter_off(scorer: Scorer) -> Score:
    """By the policy that `scorer` holds, without its adapter and without dropout. Modes and the
    weights that train are as before afterwards."""

    def score(batch: TokenBatch) -> Tensor:
        training = scorer.training
        scorer.eval()
        try:
            with scorer.model.disable_adapter():
                values: Tensor = scorer(batch)
        finally:
            scorer.train(training)
        return values

    return score
