"""A prompt and its answer as the ids that a reward model reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bvrank.data.dates import date_string, parsed_date, pinned
from bvrank.data.templates import control_tokens
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Asked, Message


class Unscorable(Exception):
    """A row that cannot be put before the model; `reason` is the slug."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Conversation:
    """Renders by the tokenizer's chat template, or by the Jinja `file` in its place; templates that
    print today's date get `date`. The answer is a closed turn of the assistant."""

    def __init__(self, tokenizer: Any, where: str, file: str | None, date: str) -> None:
        self._tokenizer, self._date = tokenizer, parsed_date(date)
        if file is None and not tokenizer.chat_template:
            raise ModelError(
                "its tokenizer has no chat template", where=where,
                repair="Give one: reward.template=my-template.jinja.",
            )  # fmt: skip
        own = tokenizer.get_chat_template() if file is None else _read(file)
        self._jinja = pinned(own, self._date)
        self._control = control_tokens(tokenizer)

    @property
    def identity(self) -> str:
        """Hash of what makes the text."""
        return hashlib.sha256(f"{self._jinja}|{self._date}".encode()).hexdigest()[:16]

    def ids(self, asked: Asked) -> tuple[int, ...]:
        """Prompt and answer. Raises Unscorable: `special_token` (an answer could end its own turn
        and begin another), `template` (it refuses the row, or drops the answer)."""
        turns = (*asked.prompt, Message("assistant", asked.answer))
        if any(self._control.search(t.content) for t in turns):
            raise Unscorable("special_token")
        text = self._text(turns)
        if asked.answer.strip() not in text[_shared(self._text(asked.prompt), text) :]:
            raise Unscorable("template")
        return self._tokens(text)

    def prompt(self, asked: Asked, ids: Sequence[int]) -> int:
        """How many of the row's ids are its prompt: up to the end of the last turn before the
        answer, so without the header of the answer. Raises Unscorable("template")."""
        before = self._tokens(self._text(asked.prompt))
        if not before or tuple(ids[: len(before)]) != before:
            raise Unscorable("template")
        return len(before)

    def _text(self, turns: Sequence[Message]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in turns],
                chat_template=self._jinja, tokenize=False, add_generation_prompt=False,
                date_string=date_string(self._date),
            )  # fmt: skip
        except Exception as error:  # Jinja code of strangers: it may raise anything
            raise Unscorable("template") from error
        return text

    def _tokens(self, text: str) -> tuple[int, ...]:
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return tuple(encoded["input_ids"])


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    if other.startswith(one):
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))


def _read(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read ({error})", where="reward.template") from error
