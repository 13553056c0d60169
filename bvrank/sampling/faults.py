"""What an attempt failed of, whether another can help, and when no more should be made.

reason         meant                                                        another attempt
connection     nobody listens there                                         yes
timeout        no whole reply within `timeout`                              yes
cut            the connection or the stream broke, or has no finish_reason  yes
garbage        the reply is no JSON of the protocol                         yes
empty          a reply without a choice                                     yes
server_error   5xx, 408, 409, 425, or an error in place of a reply          yes
rate_limit     429                                                          yes, when told
refused        400, 413, 422, ...: this request does not suit the server    no
content_filter the server's filter took offence                             no
not_found      404: the model or the path                                   no
login          401, 403                                                     no
quota          402, or 429 for want of credit                               no
ended          a reply that ended for a reason that is none of a response   no
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bvrank.errors import BvrankError, ConfigError, RunError
from bvrank.sampling.chat import Failure
from bvrank.sampling.pacing import reset_after, retry_after

_PASSING = (408, 409, 425)
_SILENCE = ("connection", "timeout")
OWN = ("refused", "content_filter")  # a request's own fault: it would fail again
_TRIES = 3  # attempts of a request that nobody answered, before any was
_REFUSALS = 5  # requests refused before any was answered, or as many as are in flight
_LOSSES = 10  # requests lost in a row, or as many as are in flight
_MINUTE = 60.0  # seconds
_LONGEST = 300  # characters of a server's message that are told


@dataclass(frozen=True)
class Fault:
    """Why an attempt came to nothing. `wait`: seconds that the server asks for."""

    reason: str
    message: str
    again: bool = True
    wait: float | None = None


def of_status(status: int, code: str, message: str, headers: Mapping[str, str]) -> Fault:
    """The fault that an HTTP status (and the server's own `code` of the error) stands for."""
    told = f"{status}: {message}"
    wait = retry_after(headers)
    if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
        return Fault("quota", told, again=False)
    if status == 429:
        reset = min(reset_after(headers) or 0.0, _MINUTE)  # until all of it is there again
        return Fault("rate_limit", told, wait=wait if wait is not None else reset or None)
    if status >= 500 or status in _PASSING:
        return Fault("server_error", told, wait=wait)
    if status in (401, 403):
        return Fault("login", told, again=False)
    if status == 404:
        return Fault("not_found", told, again=False)
    return Fault("content_filter" if code == "content_filter" else "refused", told, again=False)


def too_many(failures: Sequence[Failure], what: str, where: str) -> RunError:
    """For more of `what` (of one: "verdict") that stayed away than `where`.max_failed allows."""
    counts = Counter(f.reason for f in failures).most_common()
    told = ", ".join(f"{reason} {n:,}" for reason, n in counts)
    count = f"{len(failures):,} {what}{'s' if len(failures) > 1 else ''}"
    return RunError(
        f"{count} did not come ({told}); the last: {failures[-1].message}",
        where=where,
        repair=f"The others are kept: the same command asks for these again. {where}.max_failed "
        "is the share that may be missing.",
    )


def one_line(text: str, hidden: str) -> str:
    """A message without line breaks, of bearable length, with the secret `hidden` taken out."""
    line = " ".join((text.replace(hidden, "***") if hidden else text).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


class Health:
    """What came of the requests so far, and whether going on makes sense. `answered`: others like
    them were, by an earlier call, so that those which are refused have a fault of their own."""

    def __init__(self, where: str, login: str, at_once: int, patience: float,
                 answered: bool = False) -> None:  # fmt: skip
        self.replies = 0
        self._answered, self._last = answered, ""
        self._enough = max(_REFUSALS, at_once)
        self._where, self._login, self._patience = where, login, patience
        self._refusals = self._losses = 0  # in a row
        self._most = max(_LOSSES, at_once)
        self._heard = False

    def reply(self) -> None:
        """A request was answered."""
        self.replies += 1
        self._losses = 0
        self._heard = True

    def fault(self, fault: Fault, tries: int, last: bool) -> BvrankError | None:
        """An attempt, the `tries`-th of its request, failed; `last`: there will be no other.
        The error to stop with, if any."""
        own = fault.reason in OWN
        self._heard = self._heard or fault.reason not in _SILENCE
        self._refusals += own
        self._losses += last and not own
        if not self._heard and (last or tries >= _TRIES):
            return self._silent(fault)
        if not self.replies and not fault.again:
            return self._refused(fault)
        return self._given_up(fault, last and not own)

    def _silent(self, fault: Fault) -> RunError:
        if fault.reason == "timeout":
            return self._stop(
                f"no request was answered in time ({fault.message})",
                "Raise server.timeout, or see to the server.",
            )
        return self._stop(
            f"no server answers there ({fault.message})", "Start it, or correct server.base_url."
        )

    def _refused(self, fault: Fault) -> BvrankError | None:
        """Refused before anything was answered: the settings are to blame."""
        if fault.reason == "quota":
            return self._stop(*_spent(fault))
        if fault.reason == "login":
            return self._wrong(
                f"the server refused {self._login} ({fault.message})",
                "server.api_key_env is the name of the variable that holds the key.",
            )
        if fault.reason == "not_found":
            return self._wrong(
                f"not found ({fault.message})", "Check server.model and server.base_url."
            )
        self._last = fault.message
        return None if self._refusals < self._enough else self.end()

    def end(self) -> ConfigError | None:
        """The error to end with where there was no reply, and nothing but refusals of some number:
        the settings are to blame."""
        if self._answered or self.replies or self._losses or self._refusals < _REFUSALS:
            return None
        return self._wrong(
            f"the first {self._refusals} requests were all refused, last: {self._last}",
            "Check server.model, server.extra_body and how responses are drawn.",
        )

    def _given_up(self, fault: Fault, lost: bool) -> RunError | None:
        if fault.reason == "quota":
            return self._stop(*_spent(fault))
        if (fault.wait or 0) > self._patience:
            return self._stop(
                f"the server asks to wait {fault.wait:.0f} seconds ({fault.message})",
                "Go on later, or raise server.backoff.patience.",
            )
        if not lost or self._losses < self._most:
            return None
        return self._stop(
            f"the last {self._losses} requests all failed: {fault.reason} ({fault.message})",
            "What was answered is kept; see to the server and go on.",
        )

    def _wrong(self, what: str, repair: str) -> ConfigError:
        return ConfigError(what, where=self._where, repair=repair)

    def _stop(self, what: str, repair: str) -> RunError:
        return RunError(what, where=self._where, repair=repair)


def _spent(fault: Fault) -> tuple[str, str]:
    return f"no credit left ({fault.message})", "What was answered is kept; go on with credit."
