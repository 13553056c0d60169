from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.refusals import Unfit
from bvrank.data.turns import as_prompt, dialogue, messages, shown, text
from bvrank.records import Message

USER, BOT = Message("user", "hi"), Message("assistant", "hello")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hi", (USER,)),
        (" hi\n", (Message("user", " hi\n"),)),
        ([{"role": "user", "content": "hi"}], (USER,)),
        ({"role": "user", "content": "hi"}, (USER,)),
        ([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], (USER, BOT)),
        ("\n\nHuman: hi\n\nAssistant:", (USER,)),
        ("\n\nHuman: hi\n\nAssistant: hello\n\nHuman: hi", (USER, BOT, USER)),
        ("\n\nHuman: a\n\nHuman: b", (Message("user", "a"), Message("user", "b"))),
        ("\n\nHuman:  two spaces ", (Message("user", " two spaces "),)),
    ],
)
def test_conversations_in_their_forms(value: Any, expected: tuple[Message, ...]) -> None:
    assert messages(value, "prompt") == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        (3, "wrong_type"),
        ([], "missing"),
        ([3], "wrong_type"),
        ([{"role": "user"}], "missing"),
        ([{"content": "x"}], "missing"),
        ([{"role": "tool", "content": "x"}], "role"),
        ([{"role": 3, "content": "x"}], "wrong_type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "wrong_type"),
        ([{"role": "assistant", "content": "", "tool_calls": [1]}], "role"),
        ("\ud800", "bad_text"),
    ],
)
def test_what_is_no_conversation(value: Any, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        messages(value, "prompt")
    assert caught.value.reason == reason and "'prompt" in caught.value.detail


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ((), "empty_prompt"),
        ((Message("user", " "),), "empty_prompt"),
        ((USER, BOT), "prompt_end"),
        ((Message("system", "s"),), "prompt_end"),
        ((USER, Message("assistant", ""), USER), "empty_prompt"),
    ],
)
def test_a_prompt_ends_with_words_of_the_user(found: tuple[Message, ...], reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        as_prompt(found, "prompt")
    assert caught.value.reason == reason


def test_a_prompt_may_have_a_system_turn_even_an_empty_one() -> None:
    found = (Message("system", ""), USER)
    assert as_prompt(found, "prompt") is found


def test_text_is_never_altered() -> None:
    assert text("e\u0301 \r\n\t", "x") == "e\u0301 \r\n\t"
    assert dialogue("e\u0301 ")[0].content == "e\u0301 "


def test_a_shown_text_is_one_short_line() -> None:
    assert len(shown("a\n" * 100)) == 60 and "\n" not in shown("a\nb")
