"""HH-RLHF (arXiv 2204.05862): two dialogues that differ in their last answer.

    {"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": "\\n\\nHuman: ..."}

The prompt is all up to the last "\\n\\nAssistant:". Where those of the two sides differ (they do in
some rows) there is no prompt that both answer, and the row is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import redrafted
from bvrank.data.refusals import Unfit
from bvrank.records import Refused


@dataclass(frozen=True)
class HH:
    """Dialogues as a prompt of messages and two answers."""

    kind: ClassVar[str] = "pairs"

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            return [redrafted(where, row, "implicit")]
        except Unfit as error:
            return [error.refused(where)]
