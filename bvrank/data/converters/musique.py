"""MuSiQue (arXiv 2108.00573): twenty paragraphs, two to four of them needed.

    {"id": ..., "question": ..., "paragraphs": [{"title": ..., "paragraph_text": ...,
     "is_supporting": true}, ...], ...}

A paragraph is relevant (1) when it is_supporting. Lists of ten keep all of these. Questions of the
full set that cannot be answered may lack some of their paragraphs: `answerable_only` leaves them
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.paragraphs import Paragraph, Paragraphs
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.data.turns import text
from bvrank.records import Refused


@dataclass(frozen=True)
class MuSiQue(Paragraphs):
    """answerable_only: leave out questions that the set marks as not answerable."""

    answerable_only: bool = True

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one question, or why there is none."""
        try:
            if self.answerable_only and row.get("answerable") is False:
                raise Unfit(NO_TRUTH, "the question cannot be answered")
            question = text(row.get("question"), "question").strip()
            group = row["id"] if isinstance(row.get("id"), str) else ""
            return [self.question(where, question, group, _paragraphs(row.get("paragraphs")))]
        except Unfit as error:
            return [error.refused(where)]


def _paragraphs(value: Any) -> list[Paragraph]:
    if not isinstance(value, list) or not all(isinstance(p, dict) for p in value):
        raise Unfit("missing" if value is None else "wrong_type", "'paragraphs' is no list")
    found: list[Paragraph] = []
    for number, paragraph in enumerate(value):
        name = f"paragraphs[{number}]"
        relevant = paragraph.get("is_supporting")
        if not isinstance(relevant, bool):
            raise Unfit("wrong_type", f"'{name}.is_supporting' is neither true nor false")
        title, written = (paragraph.get(k) for k in ("title", "paragraph_text"))
        found.append((text(title, f"{name}.title"), text(written, name), relevant))
    return found
