"""reward=judge: a chat model behind a server rates the answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, pstdev
from typing import ClassVar

from bvrank.answers import split
from bvrank.errors import ConfigError, RunError
from bvrank.records import Asked, Message, Scored
from bvrank.sampling.chat import Decoding, Failure, Reply, Request
from bvrank.sampling.faults import OWN, too_many
from bvrank.sampling.openai import Server, complete

VERSION = 1  # of how verdicts are read; what an older version scored is scored again
UNREAD = "verdict_unparsable"
SLOTS = re.compile(r"\{(prompt|answer|gold)\}")


@dataclass(frozen=True)
class Judge:
    """The mean of `samples` ratings from `lowest` to `highest`, that the judge gives to an answer.

    `prompt` is what it is asked, with {prompt}, {answer} and perhaps {gold} in it. `rating` is a
    regular expression with one group, the number; its last match counts, in the judge's answer
    alone (never in its thinking). A verdict without a rating in range, or one that was cut off,
    does not count. `max_failed`: share of answers that the judge may stay away from when all
    attempts are used up; with more of them the run stops, and the same command asks again.

    Where no verdict at all can be read the run stops, and none is kept.

    Unscored: `verdict_unparsable` when none counts, `judge_<reason>` when none even came (the
    reasons of bvrank.sampling.faults), `no_gold`.
    """

    server: Server
    prompt: str
    rating: str
    lowest: float = 1.0
    highest: float = 10.0
    samples: int = 1
    decoding: Decoding = field(default_factory=Decoding)
    max_failed: float = 0.01
    together: ClassVar[int | None] = None
    before: ClassVar[int] = 0  # answers that were scored by an earlier call, see `shared`

    def __post_init__(self) -> None:
        slots = set(SLOTS.findall(self.prompt))
        if missing := {"prompt", "answer"} - slots:
            raise ConfigError(f"has no {{{min(missing)}}} in it", where="prompt")
        try:
            groups = re.compile(self.rating).groups
        except re.error as error:
            raise ConfigError(f"is no regular expression ({error})", where="rating") from error
        if groups != 1:
            raise ConfigError(
                f"has {groups} groups, and one has to be the number", where="rating",
                repair=r"For instance 'Rating: (\d+)'.",
            )  # fmt: skip
        if not self.lowest < self.highest:
            raise ConfigError(
                f"must be greater than lowest, {self.lowest}, got {self.highest}", where="highest"
            )
        if self.samples < 1:
            raise ConfigError(f"must be at least 1, got {self.samples}", where="samples")
        if self.samples > 1 and self.decoding.temperature == 0:
            raise ConfigError(
                f"{self.samples} judgements at temperature 0 are one, {self.samples} times",
                where="samples", repair="Raise decoding.temperature, or leave samples at 1.",
            )  # fmt: skip
        if not 0 <= self.max_failed <= 1:
            raise ConfigError(f"must lie in [0, 1], got {self.max_failed}", where="max_failed")
        for name in ("thinking_body", "nothinking_body"):
            if getattr(self.server, name) != getattr(Server("x"), name):
                raise ConfigError("a judge is asked in no mode", where=f"server.{name}",
                                  repair="Write it into server.extra_body.")  # fmt: skip

    @property
    def identity(self) -> str:
        """The judge, what it is asked, and how its verdict is read; no key, nor its name."""
        asked = [self.prompt, self.rating, asdict(self.decoding), dict(self.server.extra_body)]
        told = {"reward": "judge", "version": VERSION, "model": self.server.model,
                "base_url": self.server.base_url, "samples": self.samples,
                "range": [self.lowest, self.highest],
                "asked": hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}  # fmt: skip
        return json.dumps(told, sort_keys=True)

    @property
    def needs_gold(self) -> bool:
        """Whether the judge is shown what is right."""
        return "{gold}" in self.prompt

    def shared(self, world: int, before: int = 0) -> Judge:
        """As one of `world` processes may ask, which keep to the limits of `server` together.
        `before`: its answers that have a score already; `max_failed` is a share of all."""
        own = replace(self, server=self.server.shared(world))
        object.__setattr__(own, "before", before)
        return own

    def calls(self, asked: Iterable[Asked]) -> tuple[int, int]:
        """How many requests these answers take, and of how many tokens at most, the verdicts among
        them; nothing is sent."""
        costs = [request.cost for request in self._requests(asked, {}, [])]
        return len(costs), sum(costs)

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """As verdicts arrive; `details` says how many counted and how far they lie apart. Last come
        the answers that the judge stayed away from, or RunError when they are too many."""
        hearings: dict[str, _Hearing] = {}
        unasked: list[Scored] = []
        heard, away = 0, list[tuple[str, Failure]]()
        unread: list[Scored] = []  # as long as nothing could be read: a judge that does not judge
        said, reads = "", self.before > 0
        wanted = self._requests(asked, hearings, unasked)
        with closing(complete(self.server, wanted, answered=self.before > 0)) as results:
            for result in results:
                yield from _taken(unasked)
                hearing = hearings.pop(result.key)
                hearing.left -= 1
                self._hear(hearing, result)
                said = said or getattr(result, "text", "")
                if hearing.left:
                    continue
                heard += 1
                if hearing.away is not None and not hearing.ratings:
                    away.append((hearing.key, hearing.away))
                    continue
                reads = reads or bool(hearing.ratings)
                unread.append(hearing.score())
                if reads:
                    yield from _taken(unread)
        yield from _taken(unasked)
        if any(scored.reason == UNREAD for scored in unread):
            raise RunError(
                f"none of {len(unread):,} verdicts holds a rating; the first: {_short(said)!r}",
                where="reward", repair="See to the judge, reward.prompt and reward.rating. Nothing "
                "of it is kept: the same command asks again.",
            )  # fmt: skip
        yield from unread
        if len(away) > self.max_failed * (self.before + heard):
            raise too_many([failure for _, failure in away], "verdict", "reward")
        yield from (Scored(key, None, f"judge_{failure.reason}") for key, failure in away)

    def _requests(
        self, asked: Iterable[Asked], hearings: dict[str, _Hearing], unasked: list[Scored]
    ) -> Iterator[Request]:
        """`samples` for each answer; its hearing is filed under the key of each."""
        for a in asked:
            if self.needs_gold and a.gold is None:
                unasked.append(Scored(a.key, None, "no_gold"))
                continue
            hearing = _Hearing(a.key, self.samples)
            for i in range(self.samples):
                key = f"{a.key}#{i}"
                hearings[key] = hearing
                yield Request(key, (Message("user", self._question(a)),), self.decoding)

    def _question(self, asked: Asked) -> str:
        """The prompt with its slots filled, in one pass: text that is filled in has no slots."""
        told = {"prompt": _told(asked.prompt), "answer": asked.answer, "gold": asked.gold or ""}
        return SLOTS.sub(lambda found: told[found[1]], self.prompt)

    def _hear(self, hearing: _Hearing, result: Reply | Failure) -> None:
        if isinstance(result, Failure) and result.reason not in OWN:
            hearing.away = result
        elif isinstance(result, Failure):
            hearing.reasons.append(f"judge_{result.reason}")
        elif (rating := self._rating(result)) is None:
            hearing.reasons.append(UNREAD)
        else:
            hearing.ratings.append(rating)

    def _rating(self, reply: Reply) -> float | None:
        answer = split(reply.text).answer
        if answer is None or reply.finish_reason == "length":
            return None
        found = [m[1] for m in re.finditer(self.rating, answer)]
        try:
            rating = float(found[-1])
        except (IndexError, TypeError, ValueError):
            return None
        return rating if self.lowest <= rating <= self.highest else None


@dataclass
class _Hearing:
    """The verdicts on one answer as they come in; `away`: how one of them failed that another time
    may come."""

    key: str
    left: int
    ratings: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    away: Failure | None = None

    def score(self) -> Scored:
        if not self.ratings:
            return Scored(self.key, None, UNREAD if UNREAD in self.reasons else self.reasons[-1])
        details = {"judgments": float(len(self.ratings)), "spread": pstdev(self.ratings)}
        return Scored(self.key, fmean(self.ratings), details=details)


def _short(text: str) -> str:
    return " ".join(text.split())[:120]


def _taken(waiting: list[Scored]) -> Iterator[Scored]:
    while waiting:
        yield waiting.pop()


def _told(turns: tuple[Message, ...]) -> str:
    """A prompt as text: a single question as it stands, else every turn with its role."""
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"[{m.role}]\n{m.content}" for m in turns)
