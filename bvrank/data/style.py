"""What a chat template does about thinking, found out by rendering probes and not by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bvrank.answers import CLOSE, OPEN
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Message

EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"
PROBE = (Message("user", "Q0probe"),)
_REPLY = Message("assistant", "A0probe")
# (messages, enable_thinking or None: not said) -> text; a last assistant's turn is closed, and
# after any other the generation prompt follows
Render = Callable[[tuple[Message, ...], bool | None], str]


@dataclass(frozen=True)
class Style:
    """What the probes found, or a setting overrode."""

    opener: str  # what the prompt ends with when it opens the block itself, else ""
    empty_block: str  # what stands between prompt and answer when the trace is disabled
    injects: bool  # enable_thinking=false closes the block itself
    end: str  # the text of the token that ends an assistant's turn


def found_style(
    render: Render, tokenizer: Any, empty_block: str | None, end_token: str | None
) -> Style:
    """The style of a template. Raises ModelError when it cannot render one question."""
    try:
        thinking, without = render(PROBE, True), render(PROBE, False)
    except Exception as error:  # Jinja code of strangers: it may raise anything
        raise ModelError(
            f"the chat template cannot render one question ({error})",
            where=name_of(tokenizer),
            repair="Give another with chat_template.",
        ) from error
    block = block_at_end(without)
    injects = CLOSE in block
    if empty_block is None:
        empty_block = block if injects else EMPTY_BLOCK
    _check_block(empty_block)
    end = _end(render, tokenizer) if end_token is None else end_token
    return Style(block_at_end(thinking), empty_block, injects, end)


def name_of(tokenizer: Any) -> str:
    """How messages name a tokenizer."""
    return str(getattr(tokenizer, "name_or_path", "") or "tokenizer")


def block_at_end(prompt: str) -> str:
    """The think block, opened or empty, that a prompt ends with."""
    _, found, rest = prompt.rpartition(OPEN)
    return found + rest if found and not rest.replace(CLOSE, "").strip() else ""


def _end(render: Render, tokenizer: Any) -> str:
    """The token behind an assistant's turn where the template writes one, else EOS."""
    try:
        whole = render((*PROBE, _REPLY), None)
    except Exception:  # a template that renders prompts only says nothing about the end
        whole = ""
    rest = whole.rpartition(_REPLY.content)[2] if _REPLY.content in whole else ""
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"]
    if ids and (ids[0] in tokenizer.added_tokens_decoder or ids[0] == tokenizer.eos_token_id):
        return str(tokenizer.convert_ids_to_tokens(ids[0]))
    if tokenizer.eos_token is None:
        raise ModelError(
            "neither the chat template nor the tokenizer says which token ends a turn",
            where=name_of(tokenizer),
            repair="Name it with end_token.",
        )
    return str(tokenizer.eos_token)


def _check_block(block: str) -> None:
    if block.count(OPEN) != 1 or block.count(CLOSE) != 1 or not block.strip().endswith(CLOSE):
        raise ConfigError(
            f"has to hold {OPEN} and {CLOSE} once each and end with the latter, got {block!r}",
            where="empty_block",
        )
