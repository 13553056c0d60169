"""Everything that the card of a file of pairs tells, and the words for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bvrank.records import Mode
from bvrank.sampling.agreement import Agreement
from bvrank.sampling.pipeline import ModeCount
from bvrank.sampling.recorded import Survey

EXAMPLES = 2  # of each view
NAMES = {"thinking": "Thinking", "nothinking": "NoThinking"}
REASONS = {
    "failed": "no response came", "filtered": "stopped by a content filter",
    "unfinished_thinking": "thinking unfinished", "unfinished_answer": "answer cut off",
    "unclosed": "ended inside the thinking",
    "no_answer": "no answer behind the thinking", "duplicate": "said before",
    "special_token": "text of a special token", "one_response": "fewer than two to compare",
    "tie": "equal scores", "margin": "scores too close", "unfinished": "an unfinished response",
    "duplicate_prompt": "repeated", "conflicting_gold": "repeated with another gold answer",
    "same_text": "one text, two scores", "none": "the function gave no score",
    "thought": "thought, though thinking was off", "no_completion": "without a completion",
    "no_end": "with no word on their end", "bad_score": "with a score that is no number",
}  # fmt: skip


@dataclass
class Lengths:
    """Numbers of one side in one view."""

    trace: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)


@dataclass
class Tally:
    """What the rows of the file say, gathered as they are written."""

    lengths: dict[tuple[str, str], Lengths] = field(default_factory=dict)
    gaps: dict[str, list[float]] = field(default_factory=dict)
    examples: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a row."""
        view = row["view"]
        for name in ("chosen", "rejected"):
            found = self.lengths.setdefault((view, name), Lengths())
            sides = row[name] if isinstance(row[name], list) else [row[name]]
            found.trace += [len(side["think"] or "") for side in sides]
            found.answer.append(len(sides[0]["answer"]))
        self.gaps.setdefault(view, []).append(row["chosen_score"] - row["rejected_score"])
        shown = self.examples.setdefault(view, [])
        if len(shown) < EXAMPLES:
            shown.append(row)


@dataclass(frozen=True)
class Facts:
    """Everything that a card tells. `n`: responses that were asked for, of each prompt and mode,
    None for all that were recorded; `limit`: the setting that bounds the tokens of one, None where
    they were recorded; `survey`: of the file that holds them then; `model`: the name that a server
    was asked for."""

    prompts: int
    n: int | None
    refused: Counter[str]
    counts: Mapping[Mode, ModeCount]
    tally: Tally
    agreement: Agreement | None
    settings: Sequence[tuple[str, str]]
    limit: str | None = None
    survey: Survey | None = None
    model: str | None = None


def reason(name: str) -> str:
    """Why something was left out, in words."""
    return REASONS.get(name, name.replace("_", " "))


def beyond(facts: Facts) -> int:
    """Recorded responses that were not taken for others of their prompts."""
    return 0 if facts.survey is None else facts.survey.beyond.total()


def share(part: int, whole: int) -> str:
    """A count, and its share of `whole`."""
    return f"{part:,} ({100 * part / whole:.1f} %)" if whole else "0"
