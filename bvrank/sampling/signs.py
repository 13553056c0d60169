"""Whether the template opens the think block, though nobody said so (`sampler.opened`)."""

from __future__ import annotations

from dataclasses import dataclass

from bvrank.answers import CLOSE, OPEN
from bvrank.errors import ConfigError
from bvrank.sampling.responses import Block

SURE, SHARE = 3, 0.25  # responses, and of all that ended, that show a block the template opened
QUOTED = 0.1  # of these, so many may show the contrary


@dataclass
class Signs:
    """Of thinking responses that ended by themselves, how many show a block that the prompt opened:
    they close one that they never opened, as nearly all do then. Nothing would tell of others like
    them, which were cut off, that they are no answers. One that only quotes a tag is one of many
    that do not."""

    responses: int = 0
    opening: int = 0
    closing: int = 0

    def add(self, block: Block | None, ended: bool) -> None:
        """Counts a response, if it `ended` by itself: one that was cut off has shown nothing."""
        if not ended:
            return
        self.responses += 1
        self.opening += block == "opened"
        self.closing += block == "unopened"

    def check(self, least: int) -> None:
        """ConfigError for `least` signs or more, a share of all, and next to none that speak
        against them: a thought may well quote a tag."""
        if self.closing < max(least, SHARE * self.responses):
            return
        if self.opening > QUOTED * self.closing:
            return
        raise ConfigError(
            f"{self.closing} of {self.responses} thinking responses close their block with {CLOSE} "
            "and never opened it (those not counted that were cut off)", where="sampler.opened",
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
