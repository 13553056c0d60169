"""Responses from any server that speaks OpenAI's chat completions: vLLM, SGLang, a hosted one.

    for result in complete(Server(model="Qwen/Qwen3-8B"), requests):
        log(result)                                # a Reply or a Failure, as soon as it is there

Each request is one response, so that nothing that was paid for is lost with a neighbour. A request
is attempted until it is answered, or `retries` more times; faults.py says which faults pass.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, cast

from bvrank.errors import ConfigError, did_you_mean
from bvrank.sampling.chat import Request, Standing
from bvrank.sampling.faults import Fault, of_status, one_line
from bvrank.sampling.line import Result, results
from bvrank.sampling.pacing import Backoff
from bvrank.sampling.wire import OURS, Pieces, Said, Unusable, body_of, merged, whole
from bvrank.secrets import redact
from bvrank.tracking.installed import check_installed

PATH = "/chat/completions"
CONNECT = 10.0  # seconds for a connection to come about
AT_ONCE = 1000  # connections that the library keeps


@dataclass(frozen=True)
class Server:
    """Where responses come from, and how hard it may be asked. ConfigError when a field is wrong.

    `api_key_env` is the NAME of an environment variable; null sends no key. `timeout` (seconds)
    bounds an attempt from its first byte sent to its last received. `extra_body` goes along with
    every request, `thinking_body` and `nothinking_body` with those of that mode. `max_tokens_field`
    is what the server calls the limit of a response.
    """

    model: str
    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str | None = None
    concurrency: int = 32
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 1200.0
    retries: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    stream: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    thinking_body: Mapping[str, Any] = field(default_factory=dict)
    nothinking_body: Mapping[str, Any] = field(
        default_factory=lambda: {"chat_template_kwargs": {"enable_thinking": False}}
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def __post_init__(self) -> None:
        check_installed("openai")
        if not self.model.strip():
            raise ConfigError("must be the name of a model", where="model")
        if not self.base_url.startswith(("http://", "https://")) or "@" in self.base_url:
            raise ConfigError("must be an http(s) address without a login", where="base_url")
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            raise ConfigError("must be the NAME of an environment variable", where="api_key_env")
        self._check_numbers()
        for name in ("extra_body", "thinking_body", "nothinking_body"):
            if own := sorted({*getattr(self, name)} & {*OURS}):
                raise ConfigError(f"sets what other keys set: {', '.join(own)}", where=name)
        if self.max_tokens_field not in ("max_tokens", "max_completion_tokens"):
            raise ConfigError(
                "choose max_tokens or max_completion_tokens", where="max_tokens_field"
            )

    def _check_numbers(self) -> None:
        if not 1 <= self.concurrency <= AT_ONCE:
            raise ConfigError(
                f"must lie in 1..{AT_ONCE}, got {self.concurrency}", where="concurrency"
            )
        if self.retries < 0:
            raise ConfigError(f"must be at least 0, got {self.retries}", where="retries")
        for name in ("timeout", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"must be greater than 0, got {value}", where=name)

    def shared(self, world: int) -> Server:
        """What one of `world` processes that ask together may do: a part of each limit, and one
        request at least."""
        requests, tokens = (
            None if limit is None else limit / world
            for limit in (self.requests_per_minute, self.tokens_per_minute)
        )
        return replace(
            self, concurrency=max(1, self.concurrency // world),
            requests_per_minute=requests, tokens_per_minute=tokens,
        )  # fmt: skip


def complete(
    server: Server,
    requests: Iterable[Request],
    on_progress: Callable[[Standing], None] | None = None,
    *,
    answered: bool = False,
) -> Generator[Result, None, None]:
    """A Reply or a Failure for each request, as they arrive.

    Reads `requests` as far as it needs them: at most twice `concurrency` are on their way.
    `on_progress` is called in the caller's thread with every result and every fault. Closing the
    generator (or leaving it by an error) breaks off what is on its way. ConfigError and RunError
    when going on makes no sense: the server is not there, or refuses everything (`answered`: not
    so, an earlier call had replies).
    """
    transport = _Transport(server, _key(server))
    return results(server, transport, requests, on_progress or (lambda standing: None), answered)


def _key(server: Server) -> str:
    """The value of the key, "" for none. ConfigError when it is not there or cannot be sent."""
    if server.api_key_env is None:
        return ""
    value = os.environ.get(server.api_key_env, "").strip()
    if not value or not (value.isascii() and value.isprintable()):
        what = "holds characters that cannot be sent" if value else "is not set"
        raise ConfigError(
            f"${server.api_key_env} {what}", where="server.api_key_env", repair="null sends no key."
        )
    return value


class _Transport:
    """One attempt at a request over HTTP, and what its errors mean."""

    def __init__(self, server: Server, key: str) -> None:
        import openai

        self._openai, self._server, self._key = openai, server, key
        unsent = ("Authorization", "OpenAI-Organization", "OpenAI-Project")  # of another server
        self._options: Any = {} if key else {"headers": {n: openai.Omit() for n in unsent}}
        self.login = f"the key in ${server.api_key_env}" if key else "a request without a key"

    async def __aenter__(self) -> Self:
        self._client = self._openai.AsyncOpenAI(
            api_key=self._key or "none",  # else the library takes $OPENAI_API_KEY to any server
            base_url=self._server.base_url,
            timeout=self._openai.Timeout(None, connect=min(CONNECT, self._server.timeout)),
            max_retries=0,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, request: Request) -> Said:
        """What the server says to `request`; any exception is for `fault`."""
        server, stream = self._server, self._server.stream
        fixed: dict[str, Any] = {"model": server.model, "stream": stream}
        if stream:
            fixed["stream_options"] = {"include_usage": True}
        by_mode = {"thinking": server.thinking_body, "nothinking": server.nothinking_body}
        added = merged(server.extra_body, by_mode.get(request.mode, {}))
        body = body_of(request, fixed, added, server.max_tokens_field)
        # As JSON, for what a server adds to the protocol.
        how: Any = {"body": body, "cast_to": object, "options": self._options}
        if not stream:
            return whole(await self._client.post(PATH, **how))
        pieces, kind = Pieces(), self._openai.AsyncStream[object]
        chunks = await self._client.post(PATH, **how, stream=True, stream_cls=kind)
        async with chunks:
            async for chunk in chunks:
                pieces.add(chunk)
        return pieces.said()

    async def hint(self) -> str:
        """Which models the server has, as a repair; "" when it does not say."""
        try:
            async with asyncio.timeout(CONNECT):
                raw = await self._client.get("/models", cast_to=object, options=self._options)
            names = [str(model["id"]) for model in cast(Any, raw)["data"]]
        except Exception:  # it had its chance to help
            return ""
        return did_you_mean(self._server.model, names)

    def fault(self, error: Exception) -> Fault | None:
        """What `error` means; None when it is none of the server's."""
        found = self._fault(error)
        if found is None:
            return None
        return replace(found, message=one_line(str(redact(found.message)), self._key))

    def _fault(self, error: Exception) -> Fault | None:
        openai = self._openai
        if isinstance(error, Unusable):
            if error.status is None:
                return Fault(error.reason, str(error))
            return of_status(error.status, "", str(error), {})
        if isinstance(error, openai.APIStatusError):
            return of_status(
                error.status_code, str(error.code or ""), _told(error), error.response.headers
            )
        if _kinds(error) & {"APIConnectionError", "RequestError", "TimeoutError"}:
            return self._broken(error)
        if isinstance(error, openai.APIError):  # in the middle of a stream
            code = str(error.code or "")
            status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else 500
            return of_status(status, code, _told(error), {})
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            return Fault("garbage", f"the reply cannot be read: {error}")
        return None

    def _broken(self, error: BaseException) -> Fault:
        cause = error
        while isinstance(cause, self._openai.APIConnectionError) and cause.__cause__ is not None:
            cause = cause.__cause__
        told, kinds = str(cause) or type(cause).__name__, _kinds(cause)
        if kinds & {"ConnectError", "ConnectTimeout"}:
            return Fault("connection", told)
        if kinds & {"TimeoutError", "TimeoutException", "APITimeoutError"}:
            return Fault("timeout", f"timeout={self._server.timeout:g} seconds")
        return Fault("cut", told)


def _kinds(error: BaseException) -> set[str]:
    """The names of its classes; openai 2 raises httpx's errors, and 3 those of httpx2."""
    return {kind.__name__ for kind in type(error).__mro__}


def _told(error: Any) -> str:
    """The server's own words."""
    if isinstance(error.body, Mapping):
        return str(error.body.get("message") or error.body.get("detail") or error.message)
    return str(error.body or error.message)
