"""ARC (arXiv 1803.05457): questions of science exams with three to five options.

    {"id": ..., "question": {"stem": ..., "choices": [{"label": "A", "text": ...}, ...]},
     "answerKey": "A"}
    {"instruction": "Please choose the correct answer to the question: Q\\n\\n
                     Answer1: dry palms Answer2: wet palms ...\\n\\nAnswer format: answer1/answer2",
     "answer": "answer1"}

The official form, the hub's, and that of LLM-Adapters (arXiv 2304.01933), where the options stand
inside the question's text. BoolQ, PIQA and others there share the form where they have options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters.base import checked_items
from bvrank.data.converters.choices import Choices, read_choices
from bvrank.data.refusals import Unfit
from bvrank.data.turns import shown, text

_LEAD = re.compile(r"^Please choose the correct answer to the question:\s*")
_TAIL = re.compile(r"\s*Answer format:[^\n]*\s*$")
_MARK = re.compile(r"(?:^|(?<=\s))Answer(\d+):(?:\s|$)")


@dataclass(frozen=True)
class ARC(Choices):
    """One relevant option (1), the others 0, and options of other questions up to `list_size`."""

    def parts(self, row: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The question and its options with gain 1 or 0. Raises Unfit."""
        if "instruction" not in row and "question" in row:
            return read_choices(row)
        question, options = _parted(text(row.get("instruction"), "instruction"))
        right = _right(text(row.get("answer"), "answer"), len(options))
        return question, checked_items([(o, float(i == right)) for i, o in enumerate(options)])


def _parted(instruction: str) -> tuple[str, list[str]]:
    """The question and its options. The marks count up from 1, so that "Answer2:" inside an option
    that is out of turn is text."""
    body = _TAIL.sub("", _LEAD.sub("", instruction))
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(body):
        if int(mark[1]) == len(marks) + 1:
            marks.append(mark)
    if len(marks) < 2:
        raise Unfit("no_options", f"'instruction' holds {len(marks)} options as 'Answer1: ...'")
    ends = [m.start() for m in marks[1:]] + [len(body)]
    options = [body[m.end() : end].strip() for m, end in zip(marks, ends, strict=True)]
    return body[: marks[0].start()].strip(), options


def _right(answer: str, count: int) -> int:
    """The 0-based option that "answer3" names."""
    found = re.fullmatch(r"answer(\d{1,2})", answer.strip())
    if not found or not 1 <= int(found[1]) <= count:
        raise Unfit("bad_answer", f"'answer' is {shown(answer)}, not answer1 to answer{count}")
    return int(found[1]) - 1
