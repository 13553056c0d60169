"""Which answers to a prompt are one vote of maj@k: right and wrong ones by the same rule.

Right answers have the gold value, all of them. Which wrong ones have one value says a grader that
compares values (its `votes`). Without such a one, and of answers that it could not read, it is the
text: that of the last box, or the whole answer, without white space.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from bvrank.rewards.grading import extracted
from bvrank.tracking.progress import phase


def votes(groups: Sequence[Sequence[str]], scores: Sequence[Sequence[float | None]], reward: Any
          ) -> Iterator[Sequence[Hashable]]:  # fmt: skip
    """The vote of every answer, group by group. `scores`: what `reward` gave it (None: nothing)."""
    pairs = [list(zip(group, own, strict=True)) for group, own in zip(groups, scores, strict=True)]
    wrong = [[a for a, score in group if score is not None and score < 1] for group in pairs]
    graded = hasattr(reward, "votes")
    told = reward.votes(wrong) if graded else (map(_text, own) for own in wrong)
    # Values of a hundred different formulas take thousands of comparisons; texts take none.
    with phase("votes", len(pairs)) if graded and pairs else nullcontext() as shown:
        for group, numbers in zip(pairs, told, strict=True):
            left = iter(numbers)
            yield [_text(answer) if score is None else next(left) if score < 1 else "right"
                   for answer, score in group]  # fmt: skip
            if shown is not None:
                shown.advance(1)


def _text(answer: str) -> str:
    return f"text {said(answer)}"


def said(answer: str) -> str:
    """What tells answers apart whose value nobody reads."""
    return "".join(" ".join(extracted(answer)).split())
