"""How large a world is, and how it is furnished; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bvrank.errors import ConfigError

FEWEST, MOST = 64, 1024  # traces: below there is little to average, above pairs are too many
LONGEST = 10  # symbols of a trace: 2^10 are MOST
FLATTEST, STEEPEST = 1e-3, 30.0  # spreads: beyond them an answer's probability may be 0
STRETCH = 10  # worlds that train together, fewer of large ones
TOGETHER = 2**27  # numbers
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
        for name, most in (("length", LONGEST), ("prompts", 1024), ("layers", 64)):
            if getattr(self, name) > most:
                raise ConfigError(f"must be at most {most}, got {getattr(self, name)}", where=name)
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
        if not FLATTEST <= self.spread <= STEEPEST:
            raise ConfigError(f"must lie in [{FLATTEST:g}, {STEEPEST:g}], got {self.spread}",
                              where="spread")  # fmt: skip

    @property
    def traces(self) -> int:
        """How many there are."""
        return int(self.alphabet**self.length)

    @property
    def weights(self) -> int:
        """How many the model has (P)."""
        h, vocabulary = self.hidden_size, self.alphabet + 2 + self.prompts
        layer = 10 * h**2 + 2 * h + 2 * h // self.heads  # attention 4, MLP 6; norms
        return (vocabulary + self.alphabet + 1) * h + self.layers * layer

    @property
    def stretch(self) -> int:
        """How many worlds train together."""
        return max(1, min(STRETCH, TOGETHER // self.curved))

    @property
    def curved(self) -> int:
        """About how many numbers the second derivative of a world's true loss keeps."""
        return 3 * self.prompts * self.traces * self.each

    @property
    def each(self) -> int:
        """About how many numbers autograd keeps of one candidate."""
        tokens = self.length + 4
        return tokens * self.layers * (60 * self.hidden_size + 6 * self.heads * tokens)
