"""HotpotQA (arXiv 1809.09600), distractor setting: ten paragraphs, two of them needed.

    {"_id": ..., "question": ..., "context": [["Title", ["A sentence.", " Another."]], ...],
     "supporting_facts": [["Title", 0], ...], ...}

The official form, and the hub's, whose lists lie in columns. A paragraph is relevant (1) when its
title stands in supporting_facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.paragraphs import Paragraph, Paragraphs
from bvrank.data.refusals import Unfit
from bvrank.data.turns import text
from bvrank.records import Refused


@dataclass(frozen=True)
class HotpotQA(Paragraphs):
    """Paragraphs of other questions fill lists up to `list_size`."""

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one question, or why there is none."""
        try:
            question = text(row.get("question"), "question").strip()
            group = next((v for k in ("_id", "id") if isinstance(v := row.get(k), str)), "")
            return [self.question(where, question, group, _paragraphs(row))]
        except Unfit as error:
            return [error.refused(where)]


def _paragraphs(row: Mapping[str, Any]) -> list[Paragraph]:
    needed = {_title(fact) for fact in _listed(row, "supporting_facts", ("title", "sent_id"))}
    found: list[Paragraph] = []
    for number, entry in enumerate(_listed(row, "context", ("title", "sentences"))):
        name = f"context[{number}]"
        title, sentences = _title(entry), entry[1]
        if not isinstance(sentences, list):
            raise Unfit("wrong_type", f"'{name}' holds no list of sentences")
        written = "".join(text(s, name) for s in sentences)
        found.append((title, written, title in needed))
    if lost := needed - {title for title, _, _ in found}:
        raise Unfit("bad_answer", f"'context' has no paragraph {min(lost)!r}, which is needed")
    return found


def _title(entry: Any) -> str:
    if not isinstance(entry, list) or len(entry) != 2:
        raise Unfit("wrong_type", "an entry is no pair of a title and something")
    return text(entry[0], "title")


def _listed(row: Mapping[str, Any], name: str, columns: tuple[str, str]) -> list[Any]:
    """The pairs of a column, which the hub keeps as two lists."""
    value = row.get(name)
    if isinstance(value, dict):
        first, second = (value.get(c) for c in columns)
        if not (isinstance(first, list) and isinstance(second, list) and len(first) == len(second)):
            raise Unfit("wrong_type", f"'{name}' has no {columns[1]} for each {columns[0]}")
        return [list(pair) for pair in zip(first, second, strict=True)]
    if not isinstance(value, list):
        raise Unfit("missing" if value is None else "wrong_type", f"'{name}' is not a list")
    return value
