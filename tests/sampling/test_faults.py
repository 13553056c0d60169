"""Which faults pass, and when a run of requests stops."""

from __future__ import annotations

import pytest

from bvrank.errors import BvrankError, ConfigError, RunError
from bvrank.sampling.faults import Fault, Health, of_status, one_line


@pytest.mark.parametrize(
    ("status", "code", "reason", "again"),
    [
        (500, "", "server_error", True), (503, "", "server_error", True),
        (529, "", "server_error", True), (408, "", "server_error", True),
        (409, "", "server_error", True), (425, "", "server_error", True),
        (429, "", "rate_limit", True), (429, "insufficient_quota", "quota", False),
        (402, "", "quota", False), (401, "", "login", False), (403, "", "login", False),
        (404, "", "not_found", False), (400, "", "refused", False), (422, "", "refused", False),
        (413, "", "refused", False), (400, "content_filter", "content_filter", False),
    ],
)  # fmt: skip
def test_status(status: int, code: str, reason: str, again: bool) -> None:
    fault = of_status(status, code, "why", {})
    assert (fault.reason, fault.again, fault.wait) == (reason, again, None)
    assert fault.message == f"{status}: why"


def test_waits_that_a_server_asks_for() -> None:
    assert of_status(503, "", "", {"retry-after": "5"}).wait == 5
    assert of_status(429, "", "", {"retry-after": "5", "x-ratelimit-reset": "9"}).wait == 5
    assert of_status(429, "", "", {"retry-after": "0"}).wait == 0
    assert of_status(429, "", "", {"x-ratelimit-reset-tokens": "9s"}).wait == 9
    assert of_status(429, "", "", {"x-ratelimit-reset-tokens": "8h"}).wait == 60
    assert of_status(500, "", "", {"x-ratelimit-reset-tokens": "9s"}).wait is None


def test_a_message_is_one_line_without_the_secret() -> None:
    assert one_line("a\n  b k3y", "k3y") == "a b ***"
    assert one_line("a b", "") == "a b"
    assert len(one_line("x" * 1000, "")) == 303


def health() -> Health:
    return Health("http://x/v1", "the key in $K", at_once=4, patience=600)


def run(state: Health, fault: Fault, times: int, tries: int = 1, last: bool = True) -> list[
    BvrankError | None
]:  # fmt: skip
    return [state.fault(fault, tries, last) for _ in range(times)]


def test_nobody_there_stops_at_the_third_attempt() -> None:
    fault, state = Fault("connection", "refused"), health()
    assert run(state, fault, 50, tries=1, last=False) == [None] * 50
    (error,) = run(state, fault, 1, tries=3, last=False)
    assert isinstance(error, RunError) and error.exit_code == 2
    assert str(error) == (
        "http://x/v1: no server answers there (refused). Start it, or correct server.base_url."
    )


def test_without_retries_it_stops_at_once() -> None:
    (error,) = run(health(), Fault("timeout", "timeout=3 seconds"), 1)
    assert isinstance(error, RunError) and "Raise server.timeout" in str(error)


def test_a_server_that_was_heard_is_given_its_retries() -> None:
    state = health()
    assert run(state, Fault("server_error", "503"), 1, last=False) == [None]
    assert run(state, Fault("connection", "refused"), 50, tries=5, last=False) == [None] * 50


@pytest.mark.parametrize("reason", ["login", "not_found", "quota"])
def test_a_refusal_of_everything_stops_at_once(reason: str) -> None:
    (error,) = run(health(), Fault(reason, "why", again=False), 1)
    assert error is not None and error.exit_code == 2 and "why" in str(error)


def test_behind_a_reply_a_refusal_is_the_requests_own() -> None:
    for reason in ("login", "not_found", "refused"):
        state = health()
        state.reply()
        assert run(state, Fault(reason, "why", again=False), 9) == [None] * 9
    state = health()
    state.reply()
    (error,) = run(state, Fault("quota", "why", again=False), 1)
    assert isinstance(error, RunError)


def test_refusals_are_their_requests_own_fault_where_others_were_answered_before() -> None:
    state = Health("http://x/v1", "the key in $K", at_once=4, patience=600, answered=True)
    assert run(state, Fault("refused", "400: too long", again=False), 99) == [None] * 99
    assert run(state, Fault("login", "401", again=False), 1) != [None]


def test_as_many_refusals_as_are_in_flight_and_no_reply_are_enough() -> None:
    many = Health("http://x/v1", "the key in $K", at_once=128, patience=600)
    found = run(many, Fault("refused", "400: bad", again=False), 128)
    assert found[:127] == [None] * 127 and isinstance(found[127], ConfigError)


def test_where_all_was_refused_the_end_says_so() -> None:
    for refused, stops in ((4, False), (5, True), (9, True)):
        state = Health("http://x/v1", "the key in $K", at_once=128, patience=600)
        assert run(state, Fault("refused", "400: bad", again=False), refused) == [None] * refused
        assert (state.end() is not None) == stops
        state.reply()
        assert state.end() is None


def test_five_refused_requests_and_no_reply_are_enough() -> None:
    found = run(health(), Fault("refused", "400: bad", again=False), 5)
    assert found[:4] == [None] * 4 and isinstance(found[4], ConfigError)
    state = health()
    state.reply()
    assert run(state, Fault("refused", "400: bad", again=False), 99) == [None] * 99


def test_ten_lost_in_a_row_are_enough() -> None:
    state, fault = health(), Fault("server_error", "500")
    assert run(state, fault, 9) == [None] * 9
    state.reply()
    assert run(state, fault, 9) == [None] * 9
    (error,) = run(state, fault, 1)
    assert isinstance(error, RunError) and "the last 10 requests all failed" in str(error)


def test_too_long_a_wait_stops() -> None:
    state = health()
    state.reply()
    assert run(state, Fault("rate_limit", "429", wait=600), 1, last=False) == [None]
    (error,) = run(state, Fault("rate_limit", "429", wait=601), 1, last=False)
    assert isinstance(error, RunError) and "601 seconds" in str(error)
