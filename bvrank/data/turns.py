"""Conversations as people store them, read into messages. What does not fit raises Unfit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bvrank.data.refusals import Unfit
from bvrank.records import Message

# ShareGPT says human and gpt, others user and assistant.
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")


def text(value: Any, name: str) -> str:
    """`value` as text that can be tokenised, untouched."""
    if value is None:
        raise Unfit("missing", f"'{name}' is missing")
    if not isinstance(value, str):
        raise Unfit("wrong_type", f"'{name}' is {_named(value)}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unfit("bad_text", f"'{name}' holds half a surrogate pair") from error
    return value


def messages(value: Any, name: str) -> tuple[Message, ...]:
    """A list of {role, content} (or ShareGPT's {from, value}), a single one, or a text to parse."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return dialogue(text(value, name)) if value is not None else _missing(name)
    if not value:
        raise Unfit("missing", f"'{name}' is an empty list")
    return tuple(message(m, f"{name}[{i}]") for i, m in enumerate(value))


def message(value: Any, name: str) -> Message:
    """One {role, content} or {from, value}."""
    if not isinstance(value, dict):
        raise Unfit("wrong_type", f"'{name}' is {_named(value)}, not a message")
    role = text(value.get("role", value.get("from")), f"{name}.role")
    if role not in ROLES:
        known = ", ".join(ROLES)
        raise Unfit("role", f"'{name}' has the role '{role[:40]}'; known are {known}")
    if value.get("tool_calls"):
        raise Unfit("role", f"'{name}' calls tools, which is not supported")
    return Message(ROLES[role], text(value.get("content", value.get("value")), f"{name}.content"))


def dialogue(value: str) -> tuple[Message, ...]:
    """HH's "\\n\\nHuman: ... \\n\\nAssistant: ..." as messages; any other text is one user turn.

    The space behind a colon belongs to the form. An open "\\n\\nAssistant:" at the end is no turn.
    """
    if not value.startswith(HUMAN):
        return (Message("user", value),)
    parts = _TURN.split(value)[1:]
    turns = [
        Message("user" if who == "Human" else "assistant", said.removeprefix(" "))
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == Message("assistant", ""):
        turns.pop()
    return tuple(turns)


def as_prompt(found: tuple[Message, ...], name: str) -> tuple[Message, ...]:
    """`found` if it can be answered: no empty turn, and the last word is the user's."""
    if not found:
        raise Unfit("empty_prompt", f"'{name}' holds no turn")
    for turn in found:
        if turn.role != "system" and not turn.content.strip():
            raise Unfit("empty_prompt", f"'{name}' has an empty {turn.role} turn")
    if found[-1].role != "user":
        raise Unfit("prompt_end", f"'{name}' ends with a turn of the {found[-1].role}")
    return found


def shown(value: str) -> str:
    """A text's beginning, on one line, for a message about it."""
    line = repr(value)
    return line if len(line) <= 60 else line[:57] + "..."


def _missing(name: str) -> tuple[Message, ...]:
    raise Unfit("missing", f"'{name}' is missing")


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", str: "text"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return names.get(type(value), type(value).__name__)


def written_prompt(prompt: Sequence[Message]) -> Any:
    """A prompt as it stands in a row: a single question as text, all else as messages."""
    if len(prompt) == 1 and prompt[0].role == "user" and not prompt[0].content.startswith(HUMAN):
        return prompt[0].content
    return [{"role": m.role, "content": m.content} for m in prompt]
