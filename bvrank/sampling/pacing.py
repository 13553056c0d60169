"""When the next attempt may start: limits per minute, waits that a server asks for, and backoff."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, time

from bvrank.errors import ConfigError

_RESETS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset")
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DATE = 1e9  # seconds; a larger number is a moment since 1970, not a span


@dataclass(frozen=True)
class Backoff:
    """Seconds before an attempt is made again: exponential, with full jitter.

    `initial` bounds the first wait and doubles with each up to `maximum`. A wait that the server
    asks for counts instead, up to `patience`: one that asks for more stops the run. ConfigError
    when a field is out of range.
    """

    initial: float = 1.0
    maximum: float = 60.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "patience"):
            if not 0 <= getattr(self, name) < float("inf"):
                value = getattr(self, name)
                raise ConfigError(f"must be at least 0, got {value}", where=f"backoff.{name}")
        if self.maximum < self.initial:
            raise ConfigError(
                f"must not be below backoff.initial={self.initial}, got {self.maximum}",
                where="backoff.maximum",
            )

    def wait(self, key: str, attempt: int, asked: float | None = None) -> float:
        """Seconds behind attempt number `attempt` (1-based) of the request `key`."""
        share = random.Random(f"{key}:{attempt}").random()
        if asked is not None:  # all that were told the same do not come back at once
            return asked + share * self.initial
        return share * min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 60))


class Pace:
    """Lets attempts start one after another, in order of arrival, no faster than the limits.

    Two starts are a minute / `requests_per_minute` apart, and n tokens take n minutes /
    `tokens_per_minute`: no minute sees more requests than the limit, nor more tokens than the
    limit and the last request.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._apart = 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._line = asyncio.Lock()
        self._free = self._tokens_free = self._paused = clock()

    async def take(self, tokens: int) -> None:
        """Returns when an attempt that may use so many tokens can start."""
        async with self._line:
            while (wait := max(self._free, self._tokens_free, self._paused) - self._clock()) > 0:
                await self._sleep(wait)
            now = self._clock()
            self._free = now + self._apart
            self._tokens_free = now + self._per_token * tokens

    def give_back(self, tokens: int) -> None:
        """So many of the tokens that were taken were not used."""
        self._tokens_free -= self._per_token * tokens

    def pause(self, seconds: float) -> None:
        """Nothing starts for so long."""
        self._paused = max(self._paused, self._clock() + seconds)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` (or `retry-after-ms`) asks for, None where it does not."""
    if (wait := _number(headers.get("retry-after-ms", ""))) is not None:
        return max(0.0, wait / 1000)
    text = headers.get("retry-after", "").strip()
    if (wait := _number(text)) is not None:
        return max(0.0, wait)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def reset_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the last of the limits in `x-ratelimit-reset*` is reset: 1.5, 20ms, 6m0s."""
    waits = [_span(headers[name]) for name in _RESETS if name in headers]
    return max((w for w in waits if w is not None), default=None)


def _span(text: str) -> float | None:
    text = text.strip()
    if (number := _number(text)) is not None:
        if number > 1000 * _DATE:
            number /= 1000
        return max(0.0, number - time() if number > _DATE else number)
    parts = _SPAN.findall(text)
    if not parts or "".join(a + unit for a, unit in parts) != text:
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
