"""Preference data as LLaMA-Factory takes it (`ranking: true`): alpaca, sharegpt or openai form.

    {"instruction": ..., "input": ..., "chosen": ..., "rejected": ..., "system": ...,
     "history": [["earlier question", "its answer"], ...]}
    {"conversations": [{"from": "human", "value": ...}, ...], "chosen": {"from": "gpt", "value":
     ...}, "rejected": {...}, "system": ...}

As there, `input` follows `instruction` behind a line break, and the openai form is the second one
with `messages`, role and content. Columns have their default names. Tool calls are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import drafted
from bvrank.data.refusals import Unfit
from bvrank.data.sides import Turns
from bvrank.data.turns import as_prompt, message, messages, text
from bvrank.records import Message, Refused


@dataclass(frozen=True)
class LLaMAFactory:
    """Any of LLaMA-Factory's three forms of a pair."""

    kind: ClassVar[str] = "pairs"

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            prompt = _with_system(_prompt(row), row.get("system"))
            chosen, rejected = (_side(row.get(k), k) for k in ("chosen", "rejected"))
            return [drafted(where, as_prompt(prompt, "the prompt"), chosen, rejected)]
        except Unfit as error:
            return [error.refused(where)]


def _prompt(row: Mapping[str, Any]) -> Turns:
    for name in ("conversations", "messages"):
        if row.get(name) is not None:
            if not isinstance(row[name], list):
                raise Unfit("wrong_type", f"'{name}' is no list of messages")
            return messages(row[name], name)
    if row.get("instruction") is None and not row.get("input"):
        raise Unfit("no_prompt", "there are neither conversations nor an instruction")
    parts = (text(row[k], k) for k in ("instruction", "input") if row.get(k) is not None)
    return (*_history(row.get("history")), Message("user", "\n".join(p for p in parts if p)))


def _history(value: Any) -> Turns:
    """Earlier questions and answers."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(p, list) and len(p) == 2 for p in value):
        raise Unfit("wrong_type", "'history' is no list of questions and answers")
    return tuple(
        Message(role, text(said, "history"))
        for pair in value
        for role, said in zip(("user", "assistant"), pair, strict=True)
    )


def _with_system(prompt: Turns, value: Any) -> Turns:
    """A system turn inside the conversation counts before the column, as in LLaMA-Factory."""
    if value is None or value == "" or prompt[0].role == "system":
        return prompt
    return (Message("system", text(value, "system")), *prompt)


def _side(value: Any, name: str) -> str:
    """A text, or one message of the assistant."""
    if not isinstance(value, dict):
        return text(value, name)
    spoken = message(value, name)
    if spoken.role != "assistant":
        raise Unfit("role", f"'{name}' is spoken by the {spoken.role}")
    return spoken.content
