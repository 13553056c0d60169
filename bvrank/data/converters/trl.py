"""Preference data as TRL takes it: with a prompt or without, as text or as messages.

    {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
    {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}

Without a prompt it is what both sides begin with: whole messages, or text up to the last white
space they share. (TRL parts text between any two letters; a word cut in two is tokenised otherwise
than a whole one.) "\\n\\nHuman: ..." dialogues part at their last answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import redrafted
from bvrank.data.refusals import Unfit
from bvrank.data.turns import HUMAN, text
from bvrank.records import Refused

# Columns of others, and the converter that reads rows of them.
OTHERS = (
    (("instruction", "chosen", "rejected"), "llamafactory"),
    (("conversations", "chosen", "rejected"), "llamafactory"),
    (("question", "chosen", "rejected"), "argilla"),
    (("input", "chosen", "rejected"), "argilla"),
    (("chosen_response", "rejected_response"), "argilla"),
    (("generations", "ratings"), "argilla"),
    (("instruction", "completions"), "ultrafeedback"),
    (("history", "human_ref_A", "human_ref_B"), "shp"),
    (("preferred_output", "non_preferred_output"), "openai"),
    (("summaries", "choice"), "openai"),
    (("instruction", "answer"), "arc"),
)


@dataclass(frozen=True)
class TRL:
    """Any of TRL's four forms of a pair."""

    kind: ClassVar[str] = "pairs"

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            if row.get("label") is not None and row.get("completion") is not None:
                raise Unfit("missing", "the row is unpaired: it has a label and one completion")
            return [redrafted(where, *_explicit(row))]
        except Unfit as error:
            return [error.refused(where)]


def _explicit(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The row with a prompt of its own, if it can have one, and its form."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if row.get("prompt") is not None:
        return row, "prompt"
    if chosen is None or rejected is None:
        _check_others(row, "missing")
        return row, "prompt"
    if isinstance(chosen, list) and isinstance(rejected, list):
        shared = _shared(chosen, rejected)
        prompt: Any = chosen[:shared]
        chosen, rejected = chosen[shared:], rejected[shared:]
    else:
        chosen, rejected = text(chosen, "chosen"), text(rejected, "rejected")
        if chosen.startswith(HUMAN) and rejected.startswith(HUMAN):
            return row, "implicit"
        _check_others(row, "no_prompt")  # the sides' first words would pass for a prompt
        same = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
        prompt = _whole_words("".join(letter for letter, _ in same))
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if not prompt:
        _check_others(row, "no_prompt")
        raise Unfit("no_prompt", "there is no prompt, and the sides share no beginning")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}, "prompt"


def _check_others(row: Mapping[str, Any], reason: str) -> None:
    """Unfit where the columns are those of another form, with the converter that reads it."""
    given = {name for name, value in row.items() if value is not None}
    for columns, name in OTHERS:
        if given.issuperset(columns):
            raise Unfit(reason, f"no row of TRL: from={name} reads {', '.join(columns)}")
    if {"instruction", "output"} <= given:
        raise Unfit(reason, "'output' is one answer, and a pair needs a rejected one beside it")


def _shared(chosen: list[Any], rejected: list[Any]) -> int:
    """How many messages both sides begin with. Unfit where more than one is left of a side."""
    last = min(len(chosen), len(rejected)) - 1
    shared = next((i for i in range(last) if chosen[i] != rejected[i]), max(last, 0))
    if len(chosen) != shared + 1 or len(rejected) != shared + 1:
        raise Unfit("prompt_mismatch", "the sides differ before their last message")
    return shared


def _whole_words(shared: str) -> str:
    """A beginning, up to the white space before its last word."""
    found = re.match(r".*(?=\s\S*$)", shared, re.DOTALL)
    return found[0] if found else ""
