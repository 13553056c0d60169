"""reward=arithmetic: 1 where the answer states the gold number and nothing else, else 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bvrank.data.arithmetic import correct, stated
from bvrank.records import Asked, Scored

VERSION = 1  # of the verdicts; what an older version scored is scored again


@dataclass(frozen=True)
class Arithmetic:
    """The verifier of the arithmetic world. Unscored: `no_gold`."""

    together: ClassVar[int | None] = None
    needs_gold: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        """Only the code decides."""
        return f"arithmetic {VERSION}"

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """1.0 or 0.0, in the order asked."""
        for a in asked:
            if a.gold is None:
                yield Scored(a.key, None, "no_gold")
            else:
                yield Scored(a.key, float(correct(a.answer, a.gold)))

    def votes(self, groups: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """Of each group of answers, what each states, as it is compared with the gold number."""
        yield from ([stated(answer) for answer in group] for group in groups)
