"""The reference as a second model: scored when a batch comes, kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from bvrank.data.batches import Ahead, Stream
from bvrank.engines.local import Precision, autocast
from bvrank.records import TokenBatch
from bvrank.scoring.scorer import Scorer


@dataclass(frozen=True)
class Live:
    """protocols.Batches over `batches`, with the reference that `frozen` scores.

    It costs the memory of the model once more on every rank, and a forward pass per batch.
    """

    batches: Stream | Ahead
    frozen: Scorer
    device: torch.device
    precision: Precision

    def __post_init__(self) -> None:
        self.frozen.to(self.device).eval().requires_grad_(False)

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`."""
        return map(self._scored, self.batches.step(number, views))

    def once(self, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """As of `batches`."""
        return map(self._scored, self.batches.once(views))

    def _scored(self, batch: TokenBatch) -> TokenBatch:
        with torch.no_grad(), autocast(self.device, self.precision):
            reference = self.frozen(batch.to(self.device)).to("cpu")
        return replace(batch, labels=replace(batch.labels, reference=reference))
