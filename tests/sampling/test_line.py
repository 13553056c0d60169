"""Laws of many requests on their way at once, over a real server."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from bvrank.errors import RunError
from bvrank.records import Message
from bvrank.sampling.chat import Decoding, Failure, Reply, Request, Standing
from bvrank.sampling.faults import Fault
from bvrank.sampling.line import Result, results
from bvrank.sampling.openai import Server, complete
from bvrank.sampling.pacing import Backoff, Pace
from bvrank.sampling.wire import Said
from tests.servers import ChatServer, chatting

QUICK = Backoff(initial=0.005, maximum=0.02)


def at(server: ChatServer, **settings: Any) -> Server:
    return Server(**{"model": "tiny", "base_url": server.url, "backoff": QUICK, "timeout": 60.0,
                     "concurrency": 4} | settings)  # fmt: skip


def asked(keys: Any) -> Iterator[Request]:
    return (Request(str(k), (Message("user", str(k)),), Decoding(max_tokens=5)) for k in keys)


def ours() -> list[str]:
    names = (t.name for t in threading.enumerate())
    return [n for n in names if n.startswith(("bvrank", "asyncio", "AnyIO"))]


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_more_than_so_many_are_open(concurrency: int) -> None:
    all_of_them = threading.Barrier(concurrency)

    def plan(key: str, attempt: int) -> str:
        if int(key) < concurrency and attempt == 1:
            all_of_them.wait(60)  # until as many are open as may be
        return "500" if int(key) % 3 == attempt == 1 else ""

    with chatting(plan) as server:
        server.linger = 0.004
        found = list(complete(at(server, concurrency=concurrency), asked(range(48))))
    assert Counter(r.key for r in found) == Counter(map(str, range(48)))
    assert server.most == concurrency


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
    hangs = threading.Event()
    with chatting(lambda key, attempt: "hang" if key == "0" else "") as server:
        server.late = lambda body: hangs.set()
        results = complete(at(server, timeout=600), asked(range(20)))
        first = [next(results).key for _ in range(19)]
        assert sorted(first, key=int) == [str(n) for n in range(1, 20)]
        assert hangs.wait(60)
        results.close()
        assert (server.open, server.attempts["0"]) == (1, 1)  # nobody waited for what hangs
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
            list(complete(at(server), broken()))
        with pytest.raises(error):
            list(complete(at(server), asked(range(9)), interrupted))
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


class Throttled(Exception):
    """Too much was asked for."""


class Throttling:
    """Throttles the request "0" so many times; before each time one of the `others` is answered, as
    long as there are some."""

    login = ""

    def __init__(self, times: int, others: int) -> None:
        self.times, self.others, self.answered, self.denied = times, others, 0, 0

    async def __aenter__(self) -> Throttling:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ask(self, request: Request) -> Said:
        if request.key != "0":
            for _ in range(9999):  # its turn comes, or "0" was given up
                if self.answered <= self.denied:
                    break
                await asyncio.sleep(0)
            self.answered += 1
        elif self.denied < self.times:
            while self.answered <= min(self.denied, self.others - 1):
                await asyncio.sleep(0)
            self.denied += 1
            raise Throttled
        return Said("well", None, "stop", 1, 1, "tiny")

    def fault(self, error: Exception) -> Fault | None:
        return Fault("rate_limit", "slow down") if isinstance(error, Throttled) else None

    async def hint(self) -> str:
        return ""


def throttled(times: int, others: int) -> Result:
    """What becomes of the request "0" with 3 retries."""
    server = Server("tiny", retries=3, concurrency=1 + others, backoff=Backoff(0.0, 0.0))
    requests = asked(range(1 + others))
    found = {r.key: r for r in results(server, Throttling(times, others), requests, print)}
    assert len(found) == 1 + others
    return found["0"]


def test_a_throttled_request_keeps_its_retries_while_others_are_answered() -> None:
    found = throttled(times=12, others=12)
    assert isinstance(found, Reply) and found.attempts == 13


def test_a_throttled_request_is_given_up_where_no_other_is_answered() -> None:
    assert isinstance(found := throttled(times=3, others=0), Reply) and found.attempts == 4
    for others in (0, 1, 2):  # of which each one excuses one attempt
        found = throttled(times=4 + others, others=others)
        assert isinstance(found, Failure) and found.attempts == 4 + others


class Slow(Throttling):
    """Takes half a minute for a word."""

    async def ask(self, request: Request) -> Said:
        await asyncio.sleep(30)
        return await super().ask(request)

    def fault(self, error: Exception) -> Fault | None:
        return Fault("timeout", "late") if isinstance(error, TimeoutError) else None


def test_an_attempt_has_as_many_seconds_as_the_server_is_given() -> None:
    began, server = monotonic(), Server("tiny", retries=0, timeout=0.3)
    with pytest.raises(RunError, match="no request was answered in time"):
        list(results(server, Slow(0, 0), asked([0]), print))
    assert monotonic() - began >= 0.3


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
