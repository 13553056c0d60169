"""Multiple choice as AI2 writes it: {"question": {"stem", "choices"}, "answerKey"}, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.base import Items, Listwise, asked, checked_items
from bvrank.data.converters.prompts import filled
from bvrank.data.refusals import Unfit
from bvrank.data.turns import shown, text
from bvrank.records import Refused


@dataclass(frozen=True)
class Choices(Listwise):
    """A list for each question: its options, and those of other questions up to `list_size`."""

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one question, or why there is none."""
        try:
            question, items = self.parts(row)
            group = row["id"] if isinstance(row.get("id"), str) else ""
            prompt = filled(self.template, question=question)
            content = Items(prompt, items, tuple(t for t, _ in items), question, group)
            return [asked(where, content, question)]
        except Unfit as error:
            return [error.refused(where)]

    def parts(self, row: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The question and its options with gain 1 or 0. Raises Unfit."""
        return read_choices(row)


def read_choices(row: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The question and its options with gain 1 or 0. Raises Unfit.

    The hub's form of it has the stem itself as `question`, and `choices` as {label, text} beside.
    """
    question, choices = row.get("question"), row.get("choices")
    if isinstance(question, dict):
        choices, question = question.get("choices"), question.get("stem")
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
        if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
            raise Unfit("wrong_type", "'choices' has no label for each text")
        choices = [{"label": a, "text": b} for a, b in zip(labels, texts, strict=True)]
    if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
        raise Unfit("no_options", "there are no 'choices'")
    options = {text(c.get("label"), "label"): text(c.get("text"), "text") for c in choices}
    if len(options) < len(choices):
        raise Unfit("duplicates", "two options have one label")
    right = text(row.get("answerKey"), "answerKey")
    if right not in options:
        raise Unfit("bad_answer", f"'answerKey' is {shown(right)}, not of {', '.join(options)}")
    items = [(t.strip(), float(label == right)) for label, t in options.items()]
    return text(question, "question"), checked_items(items)
