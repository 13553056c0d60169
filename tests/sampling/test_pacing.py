"""Limits per minute on a clock of the test's own; backoff; what headers ask for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.errors import ConfigError
from bvrank.sampling.pacing import Backoff, Pace, reset_after, retry_after


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


def starts(costs: list[int], rpm: float | None, tpm: float | None) -> list[float]:
    """When each of many attempts that come at once starts."""
    clock, times = Clock(), dict[int, float]()
    pace = Pace(rpm, tpm, clock=clock, sleep=clock.sleep)

    async def one(n: int) -> None:
        await pace.take(costs[n])
        times[n] = clock.now

    async def all_of_them() -> None:
        await asyncio.gather(*(one(n) for n in range(len(costs))))

    asyncio.run(all_of_them())
    return [times[n] for n in range(len(costs))]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    st.floats(1, 600) | st.none(), st.floats(500, 50_000) | st.none(),
)  # fmt: skip
def test_no_minute_sees_more_than_the_limits(
    costs: list[int], rpm: float | None, tpm: float | None
) -> None:
    times = starts(costs, rpm, tpm)
    assert times == sorted(times)  # in order of arrival
    for first in range(len(times)):
        window = [n for n in range(first, len(times)) if times[n] < times[first] + 60 - 1e-6]
        if rpm is not None:
            assert len(window) <= rpm + 1  # a limit of 1.5 lets two start in some minutes
        if tpm is not None:
            assert sum(costs[n] for n in window[:-1]) <= tpm * (1 + 1e-9)
    if rpm is None and tpm is None:
        assert times[-1] == times[0]


def test_a_limit_is_used_to_the_full() -> None:
    times = starts([0] * 121, 60, None)
    assert times[-1] - times[0] == pytest.approx(120)
    times = starts([100] * 11, None, 1000)
    assert times[-1] - times[0] == pytest.approx(60)


def test_tokens_that_were_not_used_come_back() -> None:
    clock = Clock()
    pace = Pace(None, 600, clock=clock, sleep=clock.sleep)

    async def run() -> None:
        await pace.take(600)
        pace.give_back(590)
        await pace.take(1)

    asyncio.run(run())
    assert clock.now == pytest.approx(101)


def test_a_pause_holds_everybody_up() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    pace.pause(7)
    pace.pause(3)  # the longer one counts
    asyncio.run(pace.take(0))
    assert clock.now == 107


def test_backoff_grows_to_its_maximum_and_is_the_same_every_time() -> None:
    backoff = Backoff(initial=2.0, maximum=10.0)
    for attempt, bound in ((1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (2000, 10.0)):
        waits = [backoff.wait(f"{n}", attempt) for n in range(200)]
        assert waits == [backoff.wait(f"{n}", attempt) for n in range(200)]
        assert 0 <= min(waits) < 0.1 * bound and 0.9 * bound < max(waits) <= bound


def test_a_wait_that_is_asked_for_is_kept_and_spread() -> None:
    waits = [Backoff(initial=2.0).wait(f"{n}", 1, 30.0) for n in range(200)]
    assert min(waits) >= 30 and max(waits) <= 32 and len({*waits}) > 100


@pytest.mark.parametrize(
    ("field", "value"), [("initial", -1.0), ("maximum", 0.5), ("patience", float("inf"))]
)
def test_backoff_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"backoff.{field}"):
        Backoff(**{field: value})


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("0.25", 0.25), ("-1", 0.0), ("soon", None), ("nan", None)]
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}) == seconds


def test_retry_after_as_a_date_and_in_milliseconds() -> None:
    at = datetime.now(UTC) + timedelta(seconds=90)
    wait = retry_after({"retry-after": format_datetime(at, usegmt=True)})
    assert wait is not None and 80 < wait <= 90
    naive = format_datetime(at.replace(tzinfo=None))
    assert 80 < (retry_after({"retry-after": naive}) or 0) <= 90
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("7", 7.0), ("x", None),
     ("1s!", None)],
)  # fmt: skip
def test_reset_after(text: str, seconds: float | None) -> None:
    assert reset_after({"x-ratelimit-reset-tokens": text}) == seconds


def test_reset_after_a_moment_and_the_later_of_two() -> None:
    for moment in (time() + 50, 1000 * (time() + 50)):
        assert 45 < (reset_after({"x-ratelimit-reset": f"{moment:.0f}"}) or 0) <= 51
    both = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "2s"}
    assert reset_after(both) == 2 and reset_after({}) is None
