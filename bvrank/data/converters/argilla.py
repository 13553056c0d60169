"""Preference data as Argilla and distilabel write it: a chosen and a rejected, or rated answers.

    {"prompt": ..., "chosen": [messages], "chosen-rating": 5.0, "rejected": [messages],
     "rejected-rating": 3.75, ...}
    {"instruction": ..., "chosen_response": ..., "chosen_avg_rating": 5.0,
     "rejected_response": ..., "rejected_avg_rating": 3.0}
    {"input" or "instruction": ..., "generations": [texts], "ratings": [5, 3], ...}

As in ultrafeedback-binarized-preferences-cleaned, its forerunner, and what distilabel's task
UltraFeedback gives. distilabel-intel-orca-dpo-pairs has `system`, `input`, `chosen`, `rejected`,
and a `status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import (
    Pick,
    check_apart,
    check_gap,
    drafted,
    picked,
    redrafted,
    score,
)
from bvrank.data.refusals import NO_PREFERENCE, Unfit
from bvrank.data.sides import Turns
from bvrank.data.turns import as_prompt, messages, text
from bvrank.records import Message, Refused

RATINGS = (("chosen-rating", "rejected-rating"), ("chosen_rating", "rejected_rating"),
           ("chosen_avg_rating", "rejected_avg_rating"))  # fmt: skip


@dataclass(frozen=True)
class Argilla:
    """pick: of rated answers the best against the worst, or against one at random of the others.
    min_gap: leave out pairs whose ratings differ by less."""

    pick: Pick = "best_worst"
    min_gap: float = 0.0
    seed: int = 0

    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        check_gap(self.min_gap)

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            sides = [row.get(k, row.get(f"{k}_response")) for k in ("chosen", "rejected")]
            if sides == [None, None] and "generations" in row:
                return [self._rated(where, row)]
            if row.get("status") == "tie":  # distilabel-intel-orca-dpo-pairs says so
                raise Unfit(NO_PREFERENCE, "'status' is tie")
            for better, worse in RATINGS:
                check_apart(row.get(better), row.get(worse), self.min_gap)
            return [self._pair(where, row, sides)]
        except Unfit as error:
            return [error.refused(where)]

    def _pair(self, where: str, row: Mapping[str, Any], sides: list[Any]) -> Draft:
        inner = {"chosen": sides[0], "rejected": sides[1]}
        if all(isinstance(s, list) and len(s) > 1 for s in sides):
            return redrafted(where, inner, "implicit")  # the messages hold the prompt
        prompt = [{"role": m.role, "content": m.content} for m in _prompt(row)]
        return redrafted(where, inner | {"prompt": prompt}, "prompt")

    def _rated(self, where: str, row: Mapping[str, Any]) -> Draft:
        answers, ratings = row.get("generations"), row.get("ratings", row.get("rating"))
        if not isinstance(answers, list) or not isinstance(ratings, list):
            raise Unfit("wrong_type", "'generations' or 'ratings' is no list")
        if len(answers) != len(ratings):
            raise Unfit("bad_score", f"{len(ratings)} ratings of {len(answers)} generations")
        prompt = _prompt(row)
        scored = [
            (score(r, "a rating"), text(a, "generations"))
            for a, r in zip(answers, ratings, strict=True)
            if a is not None and r is not None
        ]
        key = "\n".join(m.content for m in prompt)
        return drafted(where, prompt, *picked(scored, self.pick, self.min_gap, self.seed, key))


def _prompt(row: Mapping[str, Any]) -> Turns:
    """What was asked, from whichever column holds it; behind the system prompt, if there is one."""
    for name in ("prompt", "instruction", "input", "question"):
        if row.get(name) is not None:
            found = messages(row[name], name)
            break
    else:
        raise Unfit("no_prompt", "there is no prompt, instruction, input or question")
    system = row.get("system")
    if isinstance(system, str) and system.strip() and found[0].role != "system":
        found = (Message("system", system), *found)
    return as_prompt(found, name)
