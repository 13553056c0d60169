"""The node of sampler=openai: responses of a server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from bvrank.answers import split
from bvrank.errors import ConfigError
from bvrank.records import Mode
from bvrank.sampling.chat import Decoding, Failure, Reply, Request
from bvrank.sampling.faults import too_many
from bvrank.sampling.local import Work, check_drawing
from bvrank.sampling.openai import Server, complete
from bvrank.sampling.responses import MODES, Made
from bvrank.sampling.signs import SURE, Signs, block_of

End = Literal["stop", "length", "content_filter"]
ENDS: dict[str, End] = {
    "stop": "stop", "eos": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "content_filter": "content_filter",
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """How a server is asked. `opened`: its template opens the think block and the server does not
    repeat it, so that a text without `</think>` is a thought that was cut off; replies that close a
    block which they did not open show that it should be true, and are an error. `seeded`: each
    request sends a seed of its own. `max_failed`: share of responses that may stay away when all
    attempts are used up, or end in a way that is none of `ENDS`; with more of them the run stops,
    and the same command asks for these again. Ranks share this and the limits of `server`.
    """

    server: Server
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 4096
    opened: bool = False
    seeded: bool = True
    max_failed: float = 0.01
    needs_model = False
    before: ClassVar[Signs] = Signs()  # of replies that an earlier call had, see `after`

    def __post_init__(self) -> None:
        check_drawing(self.temperature, self.top_p, self.max_new_tokens)
        if not 0 <= self.max_failed <= 1:
            raise ConfigError(f"must lie in [0, 1], got {self.max_failed}", where="max_failed")

    def generator(self, policy: Any) -> Served:
        """Itself: the weights lie elsewhere."""
        return self

    def after(self, stored: Iterable[Made], complete: bool) -> Served:
        """As it goes on behind the responses that are `stored`; `complete`: they are all that is
        wanted. ConfigError where they show that `opened` is wrong, so that what an error stopped
        stops with it again."""
        signs = Signs()
        for made in stored:
            if made.mode == "thinking" and not (self.opened or made.away):
                signs.add(made.block, made.end == "stop")
        signs.check(1 if complete else SURE)
        own = replace(self)
        object.__setattr__(own, "before", signs)
        return own

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """Each response as it arrives; those that never came last. RunError when they are too
        many, ConfigError where they show that `opened` is wrong: as soon as that is sure, and of a
        few at the end. A response is handed over before it is judged: the next call has to find
        what this one saw."""
        failures: list[Failure] = []
        wanted = self._requests(work, mode, known, rank, world)
        answered = any((m, p.row, c) in known for m in MODES for p in work.prompts
                       for c in range(work.n))  # fmt: skip
        server, signs = self.server.shared(world), replace(self.before)
        judged = mode == "thinking" and not self.opened
        with closing(complete(server, wanted, answered=answered)) as results:
            for result in map(_ended, results):
                if isinstance(result, Reply):
                    made = self._made(mode, result)
                    yield [made]
                    if judged:
                        signs.add(made.block, made.end == "stop")
                        signs.check(SURE)
                else:
                    failures.append(result)
        if judged:
            signs.check(1)
        if len(failures) > self.max_failed * len(work.prompts[rank::world]) * work.n:
            raise too_many(failures, f"{mode} response", "sampler")
        yield [_failed(mode, failure) for failure in failures]

    def _requests(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[Request]:  # fmt: skip
        seed = work.stream(mode) if self.seeded else None
        decoding = Decoding(self.temperature, self.top_p, self.max_new_tokens, seed=seed)
        for prompt in work.prompts[rank::world]:
            for copy in range(work.n):
                if (mode, prompt.row, copy) not in known:
                    yield Request(f"{prompt.row}:{copy}", prompt.messages, decoding, mode)

    def _made(self, mode: Mode, reply: Reply) -> Made:
        found = split(reply.text, opened=self.opened and mode == "thinking")
        shown = block_of(reply.text) if mode == "thinking" and not self.opened else None
        return Made(mode, *_key(reply.key), found.trace, found.answer, found.closed,
                    ENDS[reply.finish_reason], tokens=reply.completion_tokens,
                    block=shown, model=reply.model or None)  # fmt: skip


def _ended(result: Reply | Failure) -> Reply | Failure:
    """A reply that stopped for tools, say, is no response."""
    if isinstance(result, Failure) or result.finish_reason in ENDS:
        return result
    told = f"finish_reason {result.finish_reason}"
    return Failure(result.key, "ended", told, result.attempts)


def _failed(mode: Mode, failure: Failure) -> Made:
    told = f"{failure.reason}: {failure.message}"
    return Made(mode, *_key(failure.key), end="failed", detail=told)


def _key(key: str) -> tuple[int, int]:
    row, copy = key.split(":")
    return int(row), int(copy)
