"""CommonsenseQA (arXiv 1811.00937): five options, one of them right.

    {"id": ..., "question": {"stem": ..., "choices": [{"label": "A", "text": ...}, ...]},
     "answerKey": "A"}

The official form and the hub's. The official test file has no answers: its rows are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.base import Items, Listwise, asked
from bvrank.data.converters.choices import read_choices
from bvrank.data.converters.prompts import filled
from bvrank.data.refusals import Unfit
from bvrank.records import Refused


@dataclass(frozen=True)
class CommonsenseQA(Listwise):
    """One relevant option (1), the others 0, and options of other questions up to `list_size`."""

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one question, or why there is none."""
        try:
            question, items = read_choices(row)
            group = row["id"] if isinstance(row.get("id"), str) else ""
            prompt = filled(self.template, question=question)
            content = Items(prompt, items, tuple(t for t, _ in items), question, group)
            return [asked(where, content, question)]
        except Unfit as error:
            return [error.refused(where)]
