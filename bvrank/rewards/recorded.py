"""reward=recorded: the score that came with the response (sampler.score_column)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from bvrank.records import Asked, Scored


@dataclass(frozen=True)
class Recorded:
    """Unscored: `no_score`."""

    together: ClassVar[int | None] = None
    needs_gold: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """The responses bring their scores."""
        return "recorded"

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """In the order asked."""
        for a in asked:
            reason = "no_score" if a.recorded is None else ""
            yield Scored(a.key, a.recorded, reason)
