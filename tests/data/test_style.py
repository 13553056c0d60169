from __future__ import annotations

from typing import Any, ClassVar

import pytest

from bvrank.data.style import EMPTY_BLOCK, block_at_end, found_style
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Message
from tests.data.tokenizers import byte_tokenizer

TOKENIZER = byte_tokenizer(None, "<eos>", ("<end>",))


def render(end: str = "<end>\n", opener: str = "", block: str = "") -> Any:
    """A template: what closes a turn, what opens thinking, what it injects."""

    def rendered(messages: tuple[Message, ...], thinking: bool | None) -> str:
        if messages[-1].role == "assistant":
            return "".join(m.content + end for m in messages)
        return messages[0].content + (block if thinking is False and block else opener)

    return rendered


@pytest.mark.parametrize(
    ("prompt", "block"),
    [
        ("q", ""),
        ("q<think>\n", "<think>\n"),
        ("q<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("q<think>x</think>", ""),
        ("<think></think>q", ""),
        ("<think>a</think>q<think>", "<think>"),
    ],
)
def test_the_block_at_the_end_of_a_prompt(prompt: str, block: str) -> None:
    assert block_at_end(prompt) == block


def test_what_is_found_and_what_is_set() -> None:
    style = found_style(render(), TOKENIZER, None, None)
    assert (style.opener, style.empty_block, style.injects) == ("", EMPTY_BLOCK, False)
    own = found_style(render(opener="<think>", block="<think></think>"), TOKENIZER, None, None)
    assert (own.opener, own.empty_block, own.injects) == ("<think>", "<think></think>", True)
    told = found_style(render(), TOKENIZER, "<think>-</think>", "<eos>")
    assert (told.empty_block, told.end) == ("<think>-</think>", "<eos>")
    with pytest.raises(ConfigError):
        found_style(render(), TOKENIZER, "</think><think>", None)


@pytest.mark.parametrize(
    ("end", "token"), [("<end>\n", "<end>"), ("<eos>", "<eos>"), ("\n", "<eos>"), ("", "<eos>")]
)
def test_the_end_of_a_turn_is_a_token_or_eos(end: str, token: str) -> None:
    assert found_style(render(end), TOKENIZER, None, None).end == token


def test_without_any_end_token_there_is_an_error() -> None:
    class Mute:
        """A tokenizer that has no EOS."""

        eos_token = eos_token_id = None
        added_tokens_decoder: ClassVar[dict[int, str]] = {}

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": list(text.encode())}

    with pytest.raises(ModelError, match="end_token"):
        found_style(render("\n"), Mute(), None, None)
