"""Preference data of OpenAI: what its fine-tuning takes, and its summaries of posts.

    {"input": {"messages": [...], "tools": []}, "preferred_output": [{"role": "assistant",
     "content": ...}], "non_preferred_output": [...]}
    {"info": {"post": ..., "title": ..., ...}, "summaries": [{"text": ...}, {"text": ...}],
     "choice": 0, ...}

The second is summarize_from_feedback (arXiv 2009.01325), comparisons. Rows with tools are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import drafted
from bvrank.data.converters.prompts import check_template, filled
from bvrank.data.refusals import Unfit
from bvrank.data.turns import as_prompt, messages, shown, text
from bvrank.records import Message, Refused


@dataclass(frozen=True)
class OpenAI:
    """template: the prompt of a summary; {title}, {post} and {subreddit} are filled in."""

    template: str = "{title}\n\n{post}\n\nTL;DR:"

    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        check_template("template", self.template, "{post}")

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair, or why there is none."""
        try:
            return [self._summary(where, row) if "summaries" in row else _tuning(where, row)]
        except Unfit as error:
            return [error.refused(where)]

    def _summary(self, where: str, row: Mapping[str, Any]) -> Draft:
        info, both, choice = row.get("info"), row.get("summaries"), row.get("choice")
        if not isinstance(info, dict) or not isinstance(both, list) or len(both) != 2:
            raise Unfit("wrong_type", "there is no post, or there are not two summaries")
        if choice not in (0, 1) or not all(isinstance(s, dict) for s in both):
            raise Unfit("bad_answer", f"'choice' is {shown(str(choice))}, neither 0 nor 1")
        # Articles of CNN and Daily Mail stand in `article`, and have neither title nor subreddit.
        fields = {"post": text(info.get("post") or info.get("article"), "post")}
        for name in ("title", "subreddit"):
            fields[name] = text(info.get(name) or "", name)
        asked = filled(self.template, **fields).strip()
        said = [text(s.get("text"), "text").strip() for s in both]
        prompt = as_prompt((Message("user", asked),), "post")
        group = info["id"] if isinstance(info.get("id"), str) else ""
        return drafted(where, prompt, said[int(choice)], said[1 - int(choice)], group)


def _tuning(where: str, row: Mapping[str, Any]) -> Draft:
    given = row.get("input")
    if not isinstance(given, dict):
        raise Unfit("missing" if given is None else "wrong_type", "'input' is no object")
    if given.get("tools"):
        raise Unfit("role", "'input' offers tools, which is not supported")
    found = messages(_plain(given.get("messages")), "input.messages")
    sides = [_said(row.get(k), k) for k in ("preferred_output", "non_preferred_output")]
    return drafted(where, as_prompt(found, "input.messages"), *sides)


def _said(value: Any, name: str) -> str:
    """The text of the one message of the assistant that an output holds."""
    if not isinstance(value, list) or len(value) != 1:
        raise Unfit("missing" if value is None else "wrong_type", f"'{name}' is not one message")
    found = messages(_plain(value), name)[0]
    if found.role != "assistant":
        raise Unfit("role", f"'{name}' is spoken by the {found.role}")
    return found.content


def _plain(value: Any) -> Any:
    """Messages whose content is a list of text parts have it as one text; developer is system."""
    if not isinstance(value, list):
        raise Unfit("missing" if value is None else "wrong_type", "there is no list of messages")
    return [_plain_message(m) if isinstance(m, dict) else m for m in value]


def _plain_message(message: Mapping[str, Any]) -> dict[str, Any]:
    content, role = message.get("content"), message.get("role")
    if isinstance(content, list):
        if not all(isinstance(p, dict) and p.get("type") == "text" for p in content):
            raise Unfit("wrong_type", "a message holds more than text")
        content = "".join(text(p.get("text"), "text") for p in content)
    return {**message, "content": content, "role": "system" if role == "developer" else role}
