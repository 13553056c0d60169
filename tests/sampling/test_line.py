"""Laws of many requests on their way at once, over a real server."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from bvrank.errors import RunError
from bvrank.records import Message
from bvrank.sampling.chat import Decoding, Failure, Reply, Request, Standing
from bvrank.sampling.openai import Server, complete
from bvrank.sampling.pacing import Backoff, Pace
from tests.servers import ChatServer, chatting

QUICK = Backoff(initial=0.005, maximum=0.02)


def at(server: ChatServer, **settings: Any) -> Server:
    return Server(**{"model": "tiny", "base_url": server.url, "backoff": QUICK, "timeout": 20.0,
                     "concurrency": 4} | settings)  # fmt: skip


def asked(keys: Any) -> Iterator[Request]:
    return (Request(str(k), (Message("user", str(k)),), Decoding(max_tokens=5)) for k in keys)


def ours() -> list[str]:
    names = (t.name for t in threading.enumerate())
    return [n for n in names if n.startswith(("bvrank", "asyncio", "AnyIO"))]


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_more_than_so_many_are_open(concurrency: int) -> None:
    with chatting(lambda key, attempt: "500" if int(key) % 3 == attempt == 1 else "") as server:
        server.linger = 0.004
        found = list(complete(at(server, concurrency=concurrency), asked(range(48))))
    assert Counter(r.key for r in found) == Counter(map(str, range(48)))
    assert server.most <= concurrency
    assert server.most == concurrency or concurrency == 16


def test_requests_are_read_as_far_as_they_are_needed() -> None:
    read = 0

    def endless() -> Iterator[Request]:
        nonlocal read
        for read in itertools.count(1):
            yield from asked([read])

    with chatting() as server:
        results = complete(at(server), endless())
        assert read == 0  # nothing happens before it is asked for
        for n in range(1, 30):
            next(results)
            assert read <= n + 2 * 4
        results.close()
    assert ours() == []


def test_results_come_as_they_arrive() -> None:
    with chatting(lambda key, attempt: "hang" if key == "0" else "") as server:
        results = complete(at(server, timeout=30), asked(range(20)))
        first = [next(results).key for _ in range(19)]
        assert sorted(first, key=int) == [str(n) for n in range(1, 20)]
        began = time.monotonic()
        results.close()
        assert time.monotonic() - began < 5  # it does not wait for what hangs
    assert ours() == []


def test_results_do_not_wait_for_the_next_request() -> None:
    answered = threading.Event()

    def slow() -> Iterator[Request]:
        yield from asked([0, 1])
        assert answered.wait(20), "the second result did not come"
        yield from asked([2])

    with chatting() as server:
        results = complete(at(server, concurrency=1), slow())
        assert next(results).key == "0"
        answered.set()
        assert [r.key for r in results] == ["1", "2"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whoever_leaves_ends_everything(error: type[BaseException]) -> None:
    def broken() -> Iterator[Request]:
        yield from asked(range(6))
        raise error

    def interrupted(standing: Standing) -> None:
        raise error

    with chatting(lambda key, attempt: "hang" if key == "0" else "") as server:
        with pytest.raises(error):
            list(complete(at(server, timeout=30), broken()))
        with pytest.raises(error):
            list(complete(at(server, timeout=30), asked(range(9)), interrupted))
    assert ours() == []


def test_it_works_where_a_loop_runs_already() -> None:
    async def notebook() -> list[Any]:
        return list(complete(at(server), asked(range(3))))

    with chatting() as server:
        assert len(asyncio.run(notebook())) == 3


def test_each_attempt_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, back, paused = [], [], []

    class Watched(Pace):
        async def take(self, tokens: int) -> None:
            taken.append(tokens)

        def give_back(self, tokens: int) -> None:
            back.append(tokens)

        def pause(self, seconds: float) -> None:
            paused.append(seconds)

    monkeypatch.setattr("bvrank.sampling.line.Pace", Watched)
    with chatting(lambda key, attempt: "429" if attempt == 1 else "") as server:
        found = [r for r in complete(at(server), asked(range(8))) if isinstance(r, Reply)]
    assert len(found) == 8 and sum(server.attempts.values()) == len(taken) == 16
    assert {*taken} == {5} and paused == [0.01] * 8  # no character of 1-digit prompts makes a token
    assert sorted(back) == sorted(5 - 3 - (r.completion_tokens or 0) for r in found)


def test_a_throttled_request_keeps_its_retries_while_others_are_answered() -> None:
    turns = itertools.count()

    def one_in_four(key: str, attempt: int) -> str:
        return "" if next(turns) % 4 == 3 else "429"

    with chatting(one_in_four) as server:
        found = list(complete(at(server, retries=3, concurrency=8), asked(range(40))))
    assert len(found) == 40 and all(isinstance(r, Reply) for r in found)
    assert max(r.attempts for r in found) > 1 + 3


def test_progress_is_told_in_the_callers_thread() -> None:
    told: list[tuple[str, Standing]] = []

    def plan(key: str, attempt: int) -> str:
        return {"1": "500" if attempt == 1 else "", "2": "400"}.get(key, "")

    with chatting(plan) as server:
        found = list(
            complete(at(server, concurrency=1), asked(range(4)),
                     lambda s: told.append((threading.current_thread().name, s)))
        )  # fmt: skip
    assert {name for name, _ in told} == {threading.current_thread().name}
    assert [s.trouble for _, s in told if s.trouble] == [
        "server_error: 500: internal error", *["refused: 400: the prompt is too long"] * 2,
    ]  # fmt: skip
    tokens = sum(r.completion_tokens or 0 for r in found if isinstance(r, Reply))
    assert told[-1][1] == Standing(3, 1, 1, 0, tokens, told[-1][1].trouble)


def test_what_was_answered_is_handed_over_before_an_error() -> None:
    with chatting(lambda key, attempt: "500" if int(key) >= 7 else "") as server:
        found = []
        with pytest.raises(RunError, match="the last 10 requests all failed"):
            for result in complete(at(server, retries=1), asked(itertools.count())):
                found.append(result)
        late = sum(server.attempts.values())
    assert {r.key for r in found if isinstance(r, Reply)} == {*map(str, range(7))}
    assert 9 <= sum(isinstance(r, Failure) for r in found) <= 30
    assert late < 100
    assert ours() == []
