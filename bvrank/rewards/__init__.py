"""Scores of final answers: what `bvrank sample` ranks its responses by.

A reward sees the final answer alone, as the one extractor (bvrank.answers) took it out of a
response: no trace is ever judged. Each is a frozen dataclass whose constructor is the schema of
conf/reward/<x>.yaml; what is slow (weights, a server, a process) starts at the first question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bvrank.records import Message


@dataclass(frozen=True)
class Asked:
    """An answer to score. `key` names it; `gold` is what a verifier compares with."""

    key: str
    prompt: tuple[Message, ...]
    answer: str
    gold: str | None = None


@dataclass(frozen=True)
class Scored:
    """The score of `key`, larger is better; None where there is none, and then `reason` is a slug
    that is counted. `details` are figures behind the score."""

    key: str
    score: float | None
    reason: str = ""
    details: Mapping[str, float] = field(default_factory=dict)


class Reward(Protocol):
    """Scores answers, one by one: an answer's score does not depend on what else is asked."""

    @property
    def identity(self) -> str:
        """Everything its scores depend on, so that scores can be kept by content."""

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """Every key exactly once, in any order; reads `asked` as it goes."""
