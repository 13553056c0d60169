"""ARC as instruction rows: the options stand inside the question's text.

    {"instruction": "Please choose the correct answer to the question: Q\\n\\n
                     Answer1: dry palms Answer2: wet palms ...\\n\\nAnswer format: answer1/answer2",
     "answer": "answer1"}

The ARC challenge set (arXiv 1803.05457) in the form of LLM-Adapters (arXiv 2304.01933). Questions
have three to five options. BoolQ, PIQA and others there share the form where they have options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.refusals import Unfit
from bvrank.data.turns import shown, text
from bvrank.errors import ConfigError
from bvrank.records import Refused

_LEAD = re.compile(r"^Please choose the correct answer to the question:\s*")
_TAIL = re.compile(r"\s*Answer format:[^\n]*\s*$")
_MARK = re.compile(r"(?:^|(?<=\s))Answer(\d+):(?:\s|$)")


@dataclass(frozen=True)
class ARC:
    """One relevant option (1), the others 0.

    template: the prompt; {question} and, where wanted, {options} are filled in.
    candidates_in_prompt: show the options, one per line, behind the question.
    """

    template: str = "{question}"
    candidates_in_prompt: bool = False
    option: str = "- {option}"

    def __post_init__(self) -> None:
        _check_fields("template", self.template, "{question}")
        _check_fields("option", self.option, "{option}")

    @property
    def kind(self) -> str:
        """Rows for `data=lists`."""
        return "lists"

    def convert(self, where: str, row: Mapping[str, Any]) -> dict[str, Any] | Refused:
        """{prompt, candidates, relevance} of one question, or why there is none."""
        try:
            question, options = _parted(text(row.get("instruction"), "instruction"))
            right = _right(text(row.get("answer"), "answer"), len(options))
        except Unfit as error:
            return error.refused(where)
        prompt = self.template.replace("{question}", question)
        if self.candidates_in_prompt:
            listed = (self.option.replace("{option}", o) for o in options)
            prompt = "\n".join([prompt, *listed])
        return {
            "prompt": prompt,
            "candidates": options,
            "relevance": [int(i == right) for i in range(len(options))],
        }


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
    question = body[: marks[0].start()].strip()
    if not question:
        raise Unfit("empty_prompt", "there is no question before the options")
    if not all(options):
        raise Unfit("empty_candidate", f"option {options.index('') + 1} is empty")
    if len(set(options)) < len(options):
        raise Unfit("duplicates", "two options are the same")
    return question, options


def _right(answer: str, count: int) -> int:
    """The 0-based option that "answer3" names."""
    found = re.fullmatch(r"answer(\d{1,2})", answer.strip())
    if not found or not 1 <= int(found[1]) <= count:
        raise Unfit("bad_answer", f"'answer' is {shown(answer)}, not answer1 to answer{count}")
    return int(found[1]) - 1


def _check_fields(name: str, template: str, needed: str) -> None:
    if needed not in template:
        raise ConfigError(f"must hold {needed}, got {template!r}", where=name)
