"""How large a world is, and how it is furnished; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bvrank.errors import ConfigError

FEWEST, MOST = 64, 1024  # traces: below there is little to average, above pairs are too many
BareFrom = Literal["fresh", "reuse"]
Direction = Literal["descent", "random"]


@dataclass(frozen=True)
class Shape:
    """A world's size. `spread` scales the output head at random weights: larger is more peaked.
    ConfigError for what cannot be enumerated, or is no transformer."""

    alphabet: int
    length: int
    prompts: int
    hidden_size: int
    layers: int
    heads: int
    spread: float

    def __post_init__(self) -> None:
        for name in ("length", "prompts", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, got {getattr(self, name)}", where=name)
        if self.alphabet < 2:
            raise ConfigError(f"must be at least 2: two answers differ, got {self.alphabet}",
                              where="alphabet")  # fmt: skip
        if not FEWEST <= self.traces <= MOST:
            raise ConfigError(
                f"{self.alphabet}^{self.length} = {self.traces:,} traces; there must be {FEWEST} "
                f"to {MOST:,}", where="alphabet", repair="For instance alphabet=4 length=3.",
            )  # fmt: skip
        if self.hidden_size < 2 or self.hidden_size % (2 * self.heads):
            raise ConfigError(f"must be a multiple of 2 * heads = {2 * self.heads}, got "
                              f"{self.hidden_size}", where="hidden_size")  # fmt: skip
        if not self.spread > 0:
            raise ConfigError(f"must be greater than 0, got {self.spread}", where="spread")

    @property
    def traces(self) -> int:
        """How many there are."""
        return int(self.alphabet**self.length)
