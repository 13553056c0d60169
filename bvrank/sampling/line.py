"""Many requests on their way at once, and their results as they arrive.

An event loop in a thread of its own makes the attempts; the caller's thread reads the requests and
the results. So a slow caller delays no reply, and one that leaves ends everything.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from bvrank.errors import BvrankError
from bvrank.sampling.chat import Failure, Reply, Request, Standing, whole_text
from bvrank.sampling.faults import Fault, Health
from bvrank.sampling.pacing import Pace
from bvrank.sampling.wire import Said

if TYPE_CHECKING:
    from bvrank.sampling.openai import Server

Result = Reply | Failure


class Transport(Protocol):
    """Makes one attempt; an async context around all of them."""

    login: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def ask(self, request: Request) -> Said:
        """What the server says."""

    def fault(self, error: Exception) -> Fault | None:
        """What an error of `ask` means; None for a bug."""

    async def hint(self) -> str:
        """Which models there are, as a repair for one that is not; "" when nobody says."""


def results(
    server: Server, transport: Transport, requests: Iterable[Request],
    on_progress: Callable[[Standing], None], answered: bool = False,
) -> Generator[Result, None, None]:  # fmt: skip
    """A result for each request, as they arrive; at most twice `concurrency` are on their way."""
    source, standing, more = iter(requests), Standing(), True
    with Line(server, transport, answered) as line:
        while True:
            while more and standing.in_flight < 2 * server.concurrency:
                if (request := next(source, None)) is None:
                    more = False
                    break
                line.start(request)
                standing = replace(standing, in_flight=standing.in_flight + 1)
                if not line.done.empty():
                    break
            if not standing.in_flight:
                if error := line.end():
                    raise error
                return
            event = line.done.get()
            if isinstance(event, BaseException):
                yield from line.rest()
                raise event
            standing = counted(standing, event)
            on_progress(standing)
            if not isinstance(event, Fault):
                yield event


def counted(standing: Standing, event: Result | Fault) -> Standing:
    """The standing behind `event`."""
    if isinstance(event, Fault):
        trouble = f"{event.reason}: {event.message}"
        return replace(standing, retries=standing.retries + event.again, trouble=trouble)
    standing = replace(standing, in_flight=standing.in_flight - 1)
    if isinstance(event, Failure):
        return replace(standing, failures=standing.failures + 1)
    tokens = standing.completion_tokens + (event.completion_tokens or 0)
    return replace(standing, replies=standing.replies + 1, completion_tokens=tokens, trouble="")


class Line:
    """The requests on their way. What comes of them is put into `done`: a Fault when an attempt
    fails, a result for each request, and an error when no more should be made."""

    def __init__(self, server: Server, transport: Transport, answered: bool) -> None:
        self.done: SimpleQueue[Result | Fault | BaseException] = SimpleQueue()
        self._server, self._transport = server, transport
        self._pace = Pace(server.requests_per_minute, server.tokens_per_minute)
        self._health = Health(
            server.base_url, transport.login, server.concurrency, server.backoff.patience, answered
        )
        self._slots = asyncio.Semaphore(server.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bvrank-requests", daemon=True)

    def __enter__(self) -> Line:
        self._thread.start()
        self._ready.wait()
        if not self.done.empty() and isinstance(error := self.done.get(), BaseException):
            raise error  # the transport could not even begin
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def start(self, request: Request) -> None:
        """Sends `request` on its way."""
        self._loop.call_soon_threadsafe(self._start, request)

    def end(self) -> BvrankError | None:
        """The error to end with, when all that was asked has come to an end."""
        return self._health.end()

    def rest(self) -> Iterator[Result]:
        """The results that nobody has read yet."""
        while not self.done.empty():
            event = self.done.get()
            if isinstance(event, Reply | Failure):
                yield event

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._serve())
        except BaseException as error:
            self.done.put(error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        """Until it is over; then what is still on its way is broken off."""
        self._over = asyncio.Event()
        async with self._transport:
            self._ready.set()
            await self._over.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, request: Request) -> None:
        task = asyncio.create_task(self._answer(request))
        self._tasks.add(task)  # the loop holds on to none
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request) -> None:
        try:
            self.done.put(await self._answered(request))
        except Exception as error:  # also one of ours: it is raised where the results are read
            self.done.put(error)

    async def _answered(self, request: Request) -> Result:
        """The result of `request`, after as many attempts as it takes."""
        tries = used = 0
        replies = self._health.replies
        while True:
            tries += 1
            async with self._slots:
                outcome = await self._attempt(request, tries)
            if isinstance(outcome, Reply):
                self._health.reply()
                return outcome
            # Throttled while others are answered: the server lives, and the attempt is free.
            used += not (outcome.reason == "rate_limit" and self._health.replies > replies)
            replies = self._health.replies
            last = not outcome.again or used > self._server.retries
            self.done.put(outcome)
            if stop := self._health.fault(outcome, tries, last):
                if outcome.reason == "not_found":
                    stop.repair = await self._transport.hint() or stop.repair
                raise stop
            if last:
                return Failure(request.key, outcome.reason, outcome.message, tries)
            await self._wait(request, outcome, tries)

    async def _attempt(self, request: Request, tries: int) -> Reply | Fault:
        await self._pace.take(request.cost)
        began = monotonic()
        try:
            async with asyncio.timeout(self._server.timeout):
                said = await self._transport.ask(request)
        except Exception as error:
            fault = self._transport.fault(error)
            if fault is None:
                raise
            return fault
        spent = (said.prompt_tokens or 0) + (said.completion_tokens or 0)
        self._pace.give_back(request.cost - spent if spent else 0)
        return _reply(request, said, tries, monotonic() - began)

    async def _wait(self, request: Request, fault: Fault, tries: int) -> None:
        if fault.wait is not None:
            self._pace.pause(fault.wait)  # a limit is the account's, not the request's
        key = f"{request.seed}:{request.key}"
        await asyncio.sleep(self._server.backoff.wait(key, tries, fault.wait))


def _reply(request: Request, said: Said, tries: int, seconds: float) -> Reply:
    return Reply(
        key=request.key,
        text=whole_text(said.reasoning, said.content),
        reasoning=said.reasoning,
        finish_reason=said.finish_reason,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
        model=said.model,
        seed=request.seed,
        attempts=tries,
        seconds=seconds,
        first=said.first,
    )
