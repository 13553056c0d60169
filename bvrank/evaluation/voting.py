"""Which answers to a prompt are one vote of maj@k: right and wrong ones by the same rule.

A grader that compares values says which wrong answers have one (its `votes`); right ones have the
gold value, all of them. Without such a one it is the text of right and wrong ones alike, as it is
of answers that a grader could not read: that of the last box, or the whole answer, without white
space. Were only right answers one vote in any words, they would win where they are fewer.
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
    if not hasattr(reward, "votes"):
        yield from (list(map(_text, group)) for group in groups)
        return
    pairs = [list(zip(group, own, strict=True)) for group, own in zip(groups, scores, strict=True)]
    wrong = [[a for a, score in group if score is not None and score < 1] for group in pairs]
    # Values of a hundred different formulas take thousands of comparisons.
    with phase("votes", len(pairs)) if pairs else nullcontext() as shown:
        for group, numbers in zip(pairs, reward.votes(wrong), strict=True):
            left = iter(numbers)
            yield [_text(answer) if score is None else next(left) if score < 1 else "right"
                   for answer, score in group]  # fmt: skip
            if shown is not None:
                shown.advance(1)


def by_text(reward: Any) -> list[str]:
    """A note where texts vote, for want of who compares values."""
    if hasattr(reward, "votes"):
        return []
    return ["maj: an answer's text is its vote, as task.reward compares no values; one value in "
            "several words is several votes, right or wrong"]  # fmt: skip


def _text(answer: str) -> str:
    return f"text {said(answer)}"


def said(answer: str) -> str:
    """What tells answers apart whose value nobody reads."""
    return "".join(" ".join(extracted(answer)).split())
