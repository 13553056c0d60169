"""The client over HTTP: faults, what is sent and understood, secrets, and when it stops."""

from __future__ import annotations

import importlib.util
import logging
import random
import socket
import threading
import traceback
from collections import Counter
from typing import Any

import pytest

from bvrank.answers import Response, split
from bvrank.errors import BvrankError, ConfigError, RunError
from bvrank.records import Message, Mode
from bvrank.sampling.chat import Decoding, Failure, Reply, Request
from bvrank.sampling.openai import Server, complete
from bvrank.sampling.pacing import Backoff
from tests.sampling.deadlines import Deadlines
from tests.servers import PASSING, ChatServer, chatting, echo

QUICK = Backoff(initial=0.005, maximum=0.02)
KEY = "k3y-of-the-test"
STREAMS = pytest.mark.parametrize("stream", [True, False])


def at(server: ChatServer, **settings: Any) -> Server:
    return Server(**{"model": "tiny", "base_url": server.url, "backoff": QUICK, "timeout": 20.0,
                     "concurrency": 4} | settings)  # fmt: skip


def asked(count: int, mode: Mode = "plain", **decoding: Any) -> list[Request]:
    how = Decoding(**{"max_tokens": 50, "seed": 7} | decoding)
    return [Request(str(n), (Message("user", str(n)),), how, mode) for n in range(count)]


def one(server: ChatServer, request: Request, **settings: Any) -> Reply:
    (reply,) = complete(at(server, **settings), [request])
    assert isinstance(reply, Reply), reply
    return reply


@STREAMS
@pytest.mark.parametrize("seed", [0, 1])
def test_every_request_is_answered_once_in_spite_of_faults(seed: int, stream: bool) -> None:
    def plan(key: str, attempt: int) -> str:
        dice = random.Random(f"{seed}:{key}:{attempt}")
        return dice.choice(PASSING) if dice.random() < 0.5 else ""

    requests = asked(60)
    with chatting(plan) as server:
        found = list(complete(at(server, retries=30, stream=stream), requests))
    assert Counter(r.key for r in found) == Counter(r.key for r in requests)
    assert server.answered == Counter(r.key for r in found)  # none is paid for twice
    assert {r.key: r.attempts for r in found} == dict(server.attempts)
    for result in found:
        assert isinstance(result, Reply), result
        about, answer = f"about {result.key}", f"answer to {result.key}"
        assert split(result.text) == Response(about, answer, True)
    seeds = {body["messages"][0]["content"]: set[int]() for body in server.bodies}
    for body in server.bodies:
        seeds[body["messages"][0]["content"]].add(body["seed"])
    assert seeds == {r.key: {r.seed} for r in requests}  # in every attempt


@pytest.mark.parametrize("fault", [*PASSING[:-1]])
@STREAMS
def test_a_fault_passes(fault: str, stream: bool) -> None:
    with chatting(lambda key, attempt: fault if attempt == 1 else "") as server:
        assert one(server, asked(1)[0], stream=stream).attempts == 2


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_whatever_takes_too_long_is_broken_off(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first byte to the last: also what says a little more all the time."""
    deadlines = Deadlines(monkeypatch)
    with chatting(lambda key, attempt: fault if attempt == 1 else "") as server:
        server.late = deadlines.over
        reply = one(server, asked(1)[0], timeout=7.5)
    assert reply.attempts == 2 and deadlines.given == [7.5, 7.5]


@STREAMS
def test_behind_the_last_retry_a_request_has_failed(stream: bool) -> None:
    def plan(key: str, attempt: int) -> str:
        return PASSING[int(key)] if int(key) < len(PASSING) - 1 else ""

    reasons = ["server_error"] * 2 + ["rate_limit"] * 2
    reasons += ["cut", "cut" if stream else "empty", "garbage", "empty", "server_error", "cut"]
    with chatting(plan) as server:
        found = list(complete(at(server, retries=2, stream=stream, concurrency=20), asked(20)))
    failed = {int(r.key): r for r in found if isinstance(r, Failure)}
    assert [failed[n].reason for n in sorted(failed)] == reasons
    assert {failed[n].attempts for n, reason in enumerate(reasons) if reason != "rate_limit"} == {3}
    assert len(found) == 20


def test_one_refused_request_harms_no_other() -> None:
    plan = {"7": "400", "9": "filter"}
    with chatting(lambda key, attempt: plan.get(key, "")) as server:
        found = {r.key: r for r in complete(at(server), asked(12))}
    assert found["7"] == Failure("7", "refused", "400: the prompt is too long", 1)
    assert found["9"] == Failure("9", "content_filter", "400: against the policy", 1)
    assert sum(isinstance(r, Reply) for r in found.values()) == 10
    assert set(server.attempts.values()) == {1}


FATAL: list[tuple[str, type[BvrankError], str]] = [
    ("401", ConfigError, r"the server refused the key in \$TEST_KEY \(401: wrong key"),
    ("403", ConfigError, r"refused the key in \$TEST_KEY \(403: not for you\)"),
    ("404", ConfigError, r"404: The model `tiny-instuct` does not exist.*Did you mean"),
    ("402", RunError, "no credit left"),
    ("quota", RunError, "no credit left"),
    ("day", RunError, "asks to wait 86400 seconds"),
    ("400", ConfigError, r"the first \d+ requests were all refused, last: 400"),
]


@pytest.mark.parametrize(("fault", "kind", "message"), FATAL)
def test_what_no_retry_mends_stops_soon(
    fault: str, kind: type[BvrankError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    with chatting(lambda key, attempt: fault) as server:
        settings = {"api_key_env": "TEST_KEY", "model": "tiny-instuct"}
        with pytest.raises(kind, match=message) as caught:
            list(complete(at(server, **settings), asked(500)))
        assert sum(server.attempts.values()) <= 25
    assert caught.value.exit_code == 2 and caught.value.where == server.url
    assert KEY not in str(caught.value)


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    requests = iter(asked(500))
    server = Server(model="m", base_url=address, backoff=QUICK, concurrency=4)
    with pytest.raises(RunError) as caught:
        list(complete(server, requests))
    assert len(list(requests)) >= 492  # nobody was kept waiting for more than the first
    assert str(caught.value).startswith(f"{address}: no server answers there (")
    assert str(caught.value).endswith("Start it, or correct server.base_url.")


def test_a_server_that_never_answers_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        chatting(lambda key, attempt: "hang") as server,
        pytest.raises(RunError, match=r"no request was answered in time \(timeout=20 seconds\)"),
    ):
        server.late = Deadlines(monkeypatch).over
        list(complete(at(server), asked(500)))


@pytest.mark.parametrize("thought", ["reasoning_content", "reasoning"])
@STREAMS
def test_a_thought_that_was_split_off_is_put_back(thought: str, stream: bool) -> None:
    with chatting() as server:
        server.thought = thought
        reply = one(server, asked(1, "thinking")[0], stream=stream)
    assert reply.text == "<think>\nabout 0\n</think>\n\nanswer to 0"
    assert (reply.reasoning, reply.finish_reason) == ("\nabout 0\n", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, len("\n\nanswer to 0"))
    assert (reply.model, reply.seed, reply.attempts) == ("tiny-0", asked(1)[0].seed, 1)


@STREAMS
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_how_a_response_ended_is_told(finish: str, stream: bool) -> None:
    with chatting() as server:
        server.said = lambda body: ("so far", "", finish)
        reply = one(server, asked(1)[0], stream=stream)
    assert reply.finish_reason == finish
    assert split(reply.text) == Response("so far", None, False)


def test_each_mode_is_asked_in_its_own_way() -> None:
    bodies = {}
    for mode in ("thinking", "nothinking", "plain"):
        with chatting() as server:
            extra = {"top_k": 20, "chat_template_kwargs": {"lang": "en"}}
            reply = one(server, asked(1, mode)[0], extra_body=extra, thinking_body={"min_p": 0})  # type: ignore[arg-type]
            (bodies[mode],) = server.bodies
        assert ("about" in reply.text) == (mode != "nothinking")
    common = {
        "model": "tiny", "messages": [{"role": "user", "content": "0"}], "temperature": 1.0,
        "top_p": 1.0, "max_tokens": 50, "seed": asked(1)[0].seed, "stream": True, "top_k": 20,
        "stream_options": {"include_usage": True}, "chat_template_kwargs": {"lang": "en"},
    }  # fmt: skip
    off = {"lang": "en", "enable_thinking": False}
    assert bodies["plain"] == common
    assert bodies["thinking"] == {**common, "min_p": 0}
    assert bodies["nothinking"] == {**common, "chat_template_kwargs": off}


def test_other_settings_are_sent() -> None:
    with chatting() as server:
        server.said = lambda body: echo({**body, "chat_template_kwargs": {}})
        request = asked(1, "nothinking", temperature=None, stop=("X",), seed=None)[0]
        one(server, request, stream=False, max_tokens_field="max_completion_tokens",
            nothinking_body={"think": False})  # fmt: skip
    assert server.bodies == [
        {"model": "tiny", "messages": [{"role": "user", "content": "0"}], "top_p": 1.0,
         "max_completion_tokens": 50, "stop": ["X"], "stream": False, "think": False}
    ]  # fmt: skip


def test_without_a_key_nothing_of_an_account_elsewhere_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    with chatting(lambda key, attempt: "") as server:
        list(complete(at(server), asked(2)))
    assert "private" not in repr(server.headers) and len(server.headers) == 2


def test_the_key_is_sent_and_never_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    with chatting(lambda key, attempt: "" if key == "0" else "401") as server:
        settings = at(server, api_key_env="TEST_KEY", concurrency=1)
        found = list(complete(settings, asked(3)))
        assert isinstance(found[1], Failure) and "wrong key: Bearer ***" in found[1].message
    assert {h["authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    with chatting(lambda key, attempt: "401") as server:
        settings = at(server, api_key_env="TEST_KEY")
        with pytest.raises(ConfigError) as caught:
            list(complete(settings, asked(3)))
    told = "".join(traceback.format_exception(caught.value, chain=True))
    assert "wrong key: Bearer ***" in told
    for text in (told, repr(settings), repr(found), repr(caught.value), caplog.text,
                 *capfd.readouterr()):  # fmt: skip
        assert KEY not in text


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # of another server
    with chatting() as server:
        one(server, asked(1)[0])
    assert "authorization" not in server.headers[0]
    assert KEY not in str(server.headers)


@pytest.mark.parametrize(("value", "told"), [(None, "is not set"), (" ", "is not set"),
                                             ("k\u20acy", "cannot be sent")])  # fmt: skip
def test_a_key_that_cannot_be_used(
    value: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(ConfigError, match=rf"api_key_env: \$TEST_KEY .*{told}"):
        complete(Server(model="m", api_key_env="TEST_KEY"), [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", " "), ("base_url", "127.0.0.1:8000"), ("base_url", "http://me:pw@x/v1"),
     ("api_key_env", "sk-1"), ("concurrency", 0), ("concurrency", 1001), ("retries", -1),
     ("timeout", 0.0), ("requests_per_minute", 0.0), ("tokens_per_minute", float("inf")),
     ("extra_body", {"seed": 1}), ("nothinking_body", {"stream": True}),
     ("thinking_body", {"n": 2}), ("max_tokens_field", "max_new_tokens")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Server(**{"model": "m"} | {field: value})
    assert caught.value.where == field and "pw" not in str(caught.value)


def test_a_missing_package_is_told_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'bvrank\[openai\]'"):
        Server(model="m")


def test_no_requests_no_results() -> None:
    assert list(complete(Server(model="m"), [])) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("bvrank")]
