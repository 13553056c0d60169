"""How long the two sides of each pair are, in tokens: a length that gives the better side away is
what a model learns first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bvrank.data.templates import Template
from bvrank.records import Candidate, Example

PARTS = ("trace", "answer")


@dataclass(frozen=True)
class Lengths:
    """Tokens of one part of a pair."""

    where: str
    chosen: int
    rejected: int

    @property
    def difference(self) -> int:
        """Chosen less rejected."""
        return self.chosen - self.rejected


def lengths(
    examples: Iterable[Example], template: Template
) -> dict[tuple[str, str], list[Lengths]]:
    """(view, part) -> the lengths of each pair; traces only where both sides have one."""
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for example in examples:
        for view, chosen, rejected in _pairs(example):
            found.setdefault((view, "answer"), []).append(
                (example.where, chosen.answer, rejected.answer)
            )
            if chosen.trace and rejected.trace:
                found.setdefault((view, "trace"), []).append(
                    (example.where, chosen.trace, rejected.trace)
                )
    return {key: _counted(texts, template) for key, texts in found.items()}


def _pairs(example: Example) -> Iterable[tuple[str, Candidate, Candidate]]:
    for view in dict.fromkeys(c.view for c in example.candidates):
        both = [c for c in example.candidates if c.view == view]
        chosen, rejected = (pick(both, key=lambda c: c.relevance) for pick in (max, min))
        if chosen.relevance != rejected.relevance:  # of several the first, as a run takes them
            yield view, chosen, rejected


def _counted(texts: list[tuple[str, str, str]], template: Template) -> list[Lengths]:
    chosen, rejected = (
        [len(ids) for ids in template.ids([t[side] for t in texts])] for side in (1, 2)
    )
    return [
        Lengths(where, a, b) for (where, _, _), a, b in zip(texts, chosen, rejected, strict=True)
    ]
