"""Whether the template opens the think block, though nobody said so (`sampler.opened`)."""

from __future__ import annotations

from dataclasses import dataclass

from bvrank.answers import CLOSE, OPEN
from bvrank.errors import ConfigError
from bvrank.sampling.responses import Block

SURE, SHARE = 3, 0.1  # responses, and of all of them, that show a block opened by the template


@dataclass
class Signs:
    """Of thinking responses, how many show a block that the prompt opened: they close one that they
    never opened. Nothing would tell of others like them, which were cut off, that they are no
    answers. A response that only speaks of such a sign is one of many that do not."""

    responses: int = 0
    opening: int = 0
    closing: int = 0

    def add(self, block: Block | None) -> None:
        """Counts a response."""
        self.responses += 1
        self.opening += block == "opened"
        self.closing += block == "unopened"

    def check(self, least: int) -> None:
        """ConfigError for `least` signs or more, a share of all, and next to none that speak
        against them: a thought may well quote a tag."""
        if self.closing < max(least, SHARE * self.responses) or self.opening > SHARE * self.closing:
            return
        raise ConfigError(
            f"{self.closing} of {self.responses} thinking responses close their block with {CLOSE} "
            "and never opened it", where="sampler.opened",
            repair="The template opens it: say sampler.opened=true, so that what was cut off "
            f"before {CLOSE} counts as a thought that never closed, and not as an answer. What "
            "was read the other way so far is asked for again then.",
        )  # fmt: skip


def block_of(text: str) -> Block | None:
    """What a response shows of who opens its block."""
    before, closed, _ = text.partition(CLOSE)
    if OPEN in before:
        return "opened"
    return "unopened" if closed else None
