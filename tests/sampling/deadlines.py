"""When attempts are late: as soon as the server says that it will never answer them. A clock would
end others as well on a machine that has much to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bvrank.sampling import openai
from bvrank.sampling.chat import Request


class Deadlines:
    """In place of the clock of every attempt; `over` ends the one that sent a body. `given` are the
    seconds that they would have had."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.given: list[float | None] = []
        self._begun: dict[Any, asyncio.Timeout] = {}  # by task
        self._sent: dict[Any, tuple[asyncio.AbstractEventLoop, asyncio.Timeout]] = {}
        clock, ask = asyncio.timeout, openai._Transport.ask

        def timeout(seconds: float | None) -> asyncio.Timeout:
            self.given.append(seconds)
            self._begun[asyncio.current_task()] = scope = clock(None)
            return scope

        async def asking(transport: Any, request: Request) -> Any:
            scope = self._begun.pop(asyncio.current_task())
            said = request.messages[-1].content, request.seed
            self._sent[said] = asyncio.get_running_loop(), scope
            return await ask(transport, request)

        patch.setattr(asyncio, "timeout", timeout)
        patch.setattr(openai._Transport, "ask", asking)

    def over(self, body: dict[str, Any]) -> None:
        """The attempt that sent `body` is late."""
        loop, scope = self._sent[body["messages"][-1]["content"], body.get("seed")]
        loop.call_soon_threadsafe(scope.reschedule, loop.time())
