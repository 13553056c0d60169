"""The client against a server that others wrote: `transformers serve`."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.answers import CLOSE
from bvrank.errors import ConfigError
from bvrank.records import Message, Mode
from bvrank.sampling.chat import Decoding, Reply, Request
from bvrank.sampling.openai import Server, complete

MODES: tuple[Mode, ...] = ("thinking", "nothinking")


def ask(served: Any, requests: list[Request], **settings: Any) -> dict[str, Reply]:
    server = Server(model=served.model, base_url=served.base_url, timeout=60.0, **settings)
    found = list(complete(server, requests))
    assert all(isinstance(r, Reply) for r in found), found
    return {r.key: r for r in found if isinstance(r, Reply)}


def asked(mode: Mode, copies: int, seed: int = 0) -> list[Request]:
    decoding = Decoding(temperature=1.0, top_p=0.9, max_tokens=12, seed=seed)
    return [Request(f"{mode}-{n}", (Message("user", "1 + 1?"),), decoding, mode)
            for n in range(copies)]  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
def test_both_modes_are_answered(served: Any, stream: bool) -> None:
    wanted = [r for mode in MODES for r in asked(mode, 3)]
    replies = ask(served, wanted, stream=stream, concurrency=2)
    assert {*replies} == {r.key for r in wanted}
    for reply in replies.values():
        assert reply.finish_reason in ("stop", "length")
        assert reply.completion_tokens is not None and 1 <= reply.completion_tokens <= 12
        assert reply.attempts == 1


def test_the_empty_think_block_is_part_of_the_prompt(served: Any) -> None:
    replies = ask(served, [asked(mode, 1)[0] for mode in MODES])
    tokens = {mode: replies[f"{mode}-0"].prompt_tokens or 0 for mode in MODES}
    assert tokens["nothinking"] - tokens["thinking"] == len(["<think>", *"\n\n", CLOSE, *"\n\n"])


def test_a_seed_decides_a_response_asked_for_alone(served: Any) -> None:
    first, again = (ask(served, asked("thinking", 3), concurrency=1) for _ in range(2))
    other = ask(served, asked("thinking", 3, seed=1), concurrency=1)
    texts = [{k: r.text for k, r in found.items()} for found in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert len({*texts[0].values()}) == 3


def test_another_model_is_refused_in_the_words_of_the_server(served: Any) -> None:
    server = Server(model="another", base_url=served.base_url)
    with pytest.raises(ConfigError, match="pinned to"):
        list(complete(server, asked("thinking", 9)))
