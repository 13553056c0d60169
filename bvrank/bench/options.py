"""The settings of the suites; conf/bench.yaml says what each means."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from bvrank.errors import ConfigError

TOKENS = 261  # of the tokenizer that rows of random ids come with


@dataclass(frozen=True)
class Lists:
    """Sizes of lists."""

    items: list[int]
    prompts: list[int]
    item_tokens: int
    budget: int

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class OnPairs:
    """A suite on a file of pairs."""

    path: str | None
    batch: int

    def file(self, section: str) -> str:
        """The file. ConfigError when there is none."""
        if self.path is None:
            raise ConfigError("needs a file of pairs", where=f"{section}.path",
                              repair="Name one with prompt, chosen and rejected.")  # fmt: skip
        return self.path


@dataclass(frozen=True)
class Versus(OnPairs):
    """Steps on pairs, beside TRL's."""

    rows: int
    micro: list[int]
    recompute: list[int]
    screen: list[int]
    max_length: int

    def __post_init__(self) -> None:
        _positive(self, empty=("recompute",))
        if self.rows < self.batch:
            raise ConfigError(f"must be at least batch={self.batch}", where="rows")
        for name in ("micro", "recompute", "screen"):
            odd = [n for n in getattr(self, name) if self.batch % n]
            if odd:
                raise ConfigError(f"must divide batch={self.batch}, got {odd[0]}", where=name)


@dataclass(frozen=True)
class Memory:
    """Vocabularies, scored tokens of a pair, tokens of its prompt, and whether there is an arm that
    computes activations again."""

    vocabularies: list[int]
    scored: list[int]
    prompt: int
    recompute: bool

    def __post_init__(self) -> None:
        _positive(self)
        if min(self.vocabularies) < TOKENS:
            raise ConfigError(f"must be at least {TOKENS}", where="vocabularies")
        if any(n % 2 for n in self.scored):
            raise ConfigError("must be even: two answers share them", where="scored")


@dataclass(frozen=True)
class Growth:
    """Items of a list, tokens of a trace, rows of the data."""

    items: list[int]
    traces: list[int]
    rows: list[int]

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class Ranks(OnPairs):
    """Runs of so many steps, by an engine of several processes."""

    steps: int
    engine: Literal["zero0", "zero1", "zero2", "zero3"]

    def __post_init__(self) -> None:
        _positive(self)
        if self.steps < 2:
            raise ConfigError("must be at least 2: the first does not count", where="steps")


def _positive(section: Any, empty: tuple[str, ...] = ()) -> None:
    """ConfigError unless every number is one from 1; the lists `empty` may have none."""
    for name in (f.name for f in fields(section)):
        value = getattr(section, name)
        if name in empty and not value:
            continue
        if isinstance(value, list) and (not value or min(value) < 1):
            raise ConfigError("must be one or more whole numbers from 1", where=name)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ConfigError(f"must be at least 1, got {value}", where=name)
