"""SHP (stanfordnlp/SHP, arXiv 2110.08420): posts with two comments, one of them voted up more.

    {"post_id": ..., "history": ..., "human_ref_A": ..., "human_ref_B": ..., "labels": 1,
     "score_A": 52, "score_B": 13, "score_ratio": 4.0, ...}

`labels` is 1 where A is preferred. The authors advise to train on ratios of 2 or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import drafted, score
from bvrank.data.refusals import NO_PREFERENCE, WEAK, Unfit
from bvrank.data.turns import as_prompt, shown, text
from bvrank.errors import ConfigError
from bvrank.records import Message, Refused


@dataclass(frozen=True)
class SHP:
    """min_ratio: leave out pairs whose better comment has fewer votes than so many times the
    other's."""

    min_ratio: float = 1.0

    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        if not 1 <= self.min_ratio < float("inf"):
            raise ConfigError(f"must be 1 or more, got {self.min_ratio}", where="min_ratio")

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            prompt = as_prompt((Message("user", text(row.get("history"), "history")),), "history")
            sides = [text(row.get(f"human_ref_{x}"), f"human_ref_{x}") for x in "AB"]
            chosen, rejected = sides if _prefers_a(row) else reversed(sides)
            self._check_ratio(row)
            group = row["post_id"] if isinstance(row.get("post_id"), str) else ""
            return [drafted(where, prompt, chosen, rejected, group)]
        except Unfit as error:
            return [error.refused(where)]

    def _check_ratio(self, row: Mapping[str, Any]) -> None:
        if row.get("score_A") is not None and row.get("score_A") == row.get("score_B"):
            raise Unfit(NO_PREFERENCE, "both comments have the same score")
        if self.min_ratio > 1 and score(row.get("score_ratio"), "score_ratio") < self.min_ratio:
            raise Unfit(WEAK, f"'score_ratio' is {row['score_ratio']}")


def _prefers_a(row: Mapping[str, Any]) -> bool:
    label = row.get("labels")
    if label not in (0, 1, "0", "1"):
        raise Unfit("bad_answer", f"'labels' is {shown(str(label))}, neither 1 (A) nor 0 (B)")
    return int(label) == 1
