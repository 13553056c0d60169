"""Which answers to a prompt are one vote of maj@k: right and wrong ones by the same rule.

A grader that compares values (its `votes`) says which answers have one value. Without such a one,
and of answers that it could not read, it is the text: that of the last box, or the whole answer,
without white space.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from bvrank.rewards.grading import extracted


def votes(groups: Sequence[Sequence[str]], readable: Sequence[Sequence[bool]], reward: Any
          ) -> Iterator[Sequence[Hashable]]:  # fmt: skip
    """The vote of every answer, group by group. `readable`: those that `reward` gave a score."""
    if not hasattr(reward, "votes"):
        yield from ([said(answer) for answer in group] for group in groups)
        return
    pairs = [
        list(zip(group, fit, strict=True)) for group, fit in zip(groups, readable, strict=True)
    ]
    told = reward.votes([answer for answer, fit in group if fit] for group in pairs)
    for group, numbers in zip(pairs, told, strict=True):
        left = iter(numbers)
        yield [next(left) if fit else said(answer) for answer, fit in group]


def said(answer: str) -> str:
    """What tells answers apart whose value nobody reads."""
    return "".join(" ".join(extracted(answer)).split())
