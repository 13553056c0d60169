"""Bodies of requests, and what is made of replies."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.records import Message
from bvrank.sampling.chat import Decoding, Request
from bvrank.sampling.wire import Pieces, Unusable, body_of, merged, whole

MESSAGES = (Message("system", "be brief"), Message("user", "1 + 1?"))


def test_the_body_of_a_request() -> None:
    decoding = Decoding(temperature=0.6, top_p=0.95, max_tokens=7, stop=("END",), seed=3)
    request = Request("k", MESSAGES, decoding)
    assert body_of(request, {"model": "m"}, {"top_k": 20}, "max_completion_tokens") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "1 + 1?"},
        ],
        "temperature": 0.6,
        "top_p": 0.95,
        "max_completion_tokens": 7,
        "stop": ["END"],
        "seed": request.seed,
        "top_k": 20,
    }


def test_what_is_none_is_not_sent() -> None:
    request = Request("k", MESSAGES, Decoding(temperature=None, top_p=None, seed=None))
    assert {*body_of(request, {}, {}, "max_tokens")} == {"messages", "max_tokens"}


def test_mappings_are_merged() -> None:
    assert merged({"a": {"x": 1, "y": 1}, "b": 1}, {"a": {"y": 2}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": 2}, "b": {"z": 1},
    }  # fmt: skip


def reply(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish}], **more}


def test_half_a_surrogate_pair_is_replaced_and_halves_in_two_chunks_are_one() -> None:
    pieces = Pieces()
    for part in ("a\ud83d", "\ude00b\ud800", "c"):
        pieces.add({"choices": [{"delta": {"content": part, "reasoning": part}}]})
    pieces.add({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert pieces.said().content == pieces.said().reasoning == "a\U0001f600b\ufffdc"
    assert whole(reply({"content": "\udc00"})).content == "\ufffd"


def test_a_whole_reply() -> None:
    said = whole(reply({"content": "42", "reasoning": "hm"}, model="m-1",
                       usage={"prompt_tokens": 3, "completion_tokens": 5}))  # fmt: skip
    assert (said.content, said.reasoning, said.finish_reason) == ("42", "hm", "stop")
    assert (said.prompt_tokens, said.completion_tokens, said.model) == (3, 5, "m-1")


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_reply_without_content_is_one(finish: str) -> None:
    said = whole(reply({"role": "assistant", "content": None}, finish))
    assert (said.content, said.reasoning, said.finish_reason) == ("", None, finish)
    assert said.prompt_tokens is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("<html>", "garbage"), ([], "garbage"), (None, "garbage"), (3, "garbage"),
        ({}, "empty"), ({"choices": []}, "empty"), ({"choices": None}, "empty"),
        ({"choices": {"0": {}}}, "empty"), ({"choices": [None]}, "empty"),
        ({"choices": [{"message": None}]}, "empty"), ({"choices": ["x"]}, "empty"),
        (reply({"content": "a"}, None), "cut"), (reply({"content": "a"}, "error"), "cut"),
        (reply({"content": "a"}, "abort"), "cut"), ({"error": {"message": "x"}}, "server_error"),
        ({"error": "x", "choices": []}, "server_error"),
    ],
)  # fmt: skip
def test_what_is_no_reply_is_told(raw: Any, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        whole(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [({"message": "m", "code": 503}, "m", 503), ({"message": "m", "code": "x"}, "m", None),
     ({"message": "m", "code": 7}, "m", None), ("m", "m", None), ({"code": True}, "{'code': True}",
                                                                  None)],
)  # fmt: skip
def test_an_error_in_place_of_a_reply(error: Any, message: str, status: int | None) -> None:
    with pytest.raises(Unusable) as caught:
        whole({"error": error})
    assert (str(caught.value), caught.value.status) == (message, status)


def test_chunks_of_odd_shapes_are_put_together() -> None:
    pieces = Pieces()
    for delta in ({"role": "assistant"}, {"reasoning_content": "a"}, {"reasoning": "b"},
                  {"content": None}, {"content": "c"}, {"content": ["no", "text"]}):  # fmt: skip
        pieces.add({"choices": [{"delta": delta}]})
    pieces.add({"choices": [{"finish_reason": "stop"}], "usage": None})
    pieces.add({"choices": [], "usage": {"completion_tokens": 4, "prompt_tokens": "many"}})
    said = pieces.said()
    assert (said.content, said.reasoning, said.finish_reason) == ("c", "ab", "stop")
    assert (said.prompt_tokens, said.completion_tokens) == (None, 4)


def test_alternatives_to_the_first_token_are_kept() -> None:
    first, second = ([{"token": t, "logprob": p} for t, p in told] for told in (
        [("M", -0.1), ("m", -2), ("?", None)], [("x", -0.5)],
    ))  # fmt: skip
    told = {"content": [{"token": "M", "top_logprobs": first}, {"top_logprobs": second}]}
    choice = {"message": {"content": "Mx"}, "finish_reason": "stop", "logprobs": told}
    assert whole({"choices": [choice]}).first == {"M": -0.1, "m": -2.0}
    pieces = Pieces()
    for place in (first, second):
        piece = {"delta": {"content": "M"}, "logprobs": {"content": [{"top_logprobs": place}]}}
        pieces.add({"choices": [{**piece, "finish_reason": "stop"}]})
    assert pieces.said().first == {"M": -0.1, "m": -2.0}


@pytest.mark.parametrize(
    "told",
    [None, "x", {}, {"content": []}, {"content": [None]}, {"content": [{"top_logprobs": "x"}]},
     {"content": [{"top_logprobs": [1, {"token": "M"}]}]}],
)  # fmt: skip
def test_other_shapes_hold_no_alternatives(told: Any) -> None:
    choice = {"message": {"content": "M"}, "finish_reason": "stop", "logprobs": told}
    assert whole({"choices": [choice]}).first is None
