"""What a chat model behind a server is asked, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from bvrank.answers import CLOSE, OPEN, join, split
from bvrank.errors import ConfigError
from bvrank.records import Message, Mode


@dataclass(frozen=True)
class Decoding:
    """How to draw one response. None is not sent: the server's own value counts.

    `seed` is the run's: each request sends one of its own that follows from it and the key.
    ConfigError when a field is out of range.
    """

    temperature: float | None = 1.0
    top_p: float | None = 1.0
    max_tokens: int = 4096
    stop: tuple[str, ...] = ()
    seed: int | None = 0

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"must be at least 0, got {self.temperature}", where="temperature")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"must lie in (0, 1], got {self.top_p}", where="top_p")
        if self.max_tokens < 1:
            raise ConfigError(f"must be at least 1, got {self.max_tokens}", where="max_tokens")


@dataclass(frozen=True)
class Request:
    """One response that is wanted. `key` names it in replies and decides its seed: n responses to
    a prompt are n requests with n keys. `mode` adds what the server needs for it."""

    key: str
    messages: tuple[Message, ...]
    decoding: Decoding = field(default_factory=Decoding)
    mode: Mode = "plain"

    @property
    def seed(self) -> int | None:
        """What is sent as seed: 31 bits (servers differ in what they take) of (seed, key)."""
        if self.decoding.seed is None:
            return None
        digest = hashlib.sha256(f"{self.decoding.seed}:{self.key}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    @property
    def cost(self) -> int:
        """Tokens at most, by a rule of thumb for the prompt: four characters make one."""
        return sum(len(m.content) for m in self.messages) // 4 + self.decoding.max_tokens


@dataclass(frozen=True)
class Reply:
    """A response. `text` is what the model wrote, in the form that `bvrank.answers` reads, also
    where the server had split off the thought (`reasoning`, as it came).

    `finish_reason` is the server's: stop, length, content_filter, ... Tokens are None where the
    server does not count them. `seconds` is the time of the last attempt of `attempts`; `model`
    is the name that the server answered with. `first`: log-probs of what could have been the first
    token, where they were asked for.
    """

    key: str
    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    seed: int | None
    attempts: int
    seconds: float
    first: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Failure:
    """A request that stays without a response. `reason` is a short slug that is counted."""

    key: str
    reason: str
    message: str
    attempts: int


@dataclass(frozen=True)
class Standing:
    """How far a run of requests has come. `trouble` is the last fault, "" behind a reply."""

    replies: int = 0
    failures: int = 0
    retries: int = 0
    in_flight: int = 0
    completion_tokens: int = 0
    trouble: str = ""


def whole_text(reasoning: str | None, content: str) -> str:
    """What the model wrote, in canonical form, from the parts that a server made of it.

    Thought without an answer was cut off: its block stays open, so that nobody judges it.
    """
    if not reasoning:
        return content
    if not content.strip():
        return f"{OPEN}\n" + reasoning.removeprefix("\n")
    raw = f"{OPEN}{reasoning}{CLOSE}{content}"
    found = split(raw)
    return raw if found.answer is None else join(found.trace or "", found.answer)
