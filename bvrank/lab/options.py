"""The settings of the lab; conf/lab.yaml says what each means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bvrank.errors import ConfigError
from bvrank.lab.shape import BareFrom, Direction, Shape

Rule = Literal["sgd", "adamw"]
FEWEST_SEEDS = 2  # an interval wants two
LAST_SEED = 2**62  # torch takes 64 bits, and more worlds follow
MOST_WORLDS = 10_000
MOST_TRACES = 1024  # of an average
BETAS = (1e-4, 1e4)  # squares and quotients of gradients stay numbers
FARTHEST = 100.0  # of the weights' norm
RATES = (1e-12, 1e6)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        ends = (f"{v:,}" if isinstance(v, int) else f"{v:g}" for v in (low, high))
        raise ConfigError(f"must be at least {' and at most '.join(ends)}, got {value}", where=name)


@dataclass(frozen=True)
class Sampling:
    """The S-trace estimators: which S, and how many draws to each prompt."""

    sizes: list[int]
    draws: int

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) < len(self.sizes):
            raise ConfigError("must be one or more different whole numbers from 1", where="sizes")
        if max(self.sizes) > MOST_TRACES:
            raise ConfigError(f"must be at most {MOST_TRACES:,} each, got {max(self.sizes)}",
                              where="sizes")  # fmt: skip
        _within("draws", self.draws, 64, 2**20)


@dataclass(frozen=True)
class Training:
    """Runs in the lab. seeds 0: none."""

    seeds: int
    steps: int
    every: int
    rate: float
    adamw: float
    rules: list[Rule]
    traces: int

    def __post_init__(self) -> None:
        if self.seeds < 0 or self.seeds == 1 or self.seeds > MOST_WORLDS:
            raise ConfigError(f"must be 0, or {FEWEST_SEEDS} to {MOST_WORLDS:,}: an interval wants "
                              f"two, got {self.seeds}", where="seeds")  # fmt: skip
        for name in ("steps", "every"):
            _within(name, getattr(self, name), 1, 10**6)
        if self.steps % self.every:
            raise ConfigError(f"must divide steps={self.steps}, got {self.every}", where="every")
        for name in ("rate", "adamw"):
            _within(name, getattr(self, name), *RATES)
        if not self.rules or len(set(self.rules)) < len(self.rules):
            raise ConfigError("must name one or more, each once", where="rules")
        if not 2 <= self.traces <= MOST_TRACES:
            raise ConfigError(f"must be 2 to {MOST_TRACES:,}: one trace is the arm g_t, got "
                              f"{self.traces}", where="traces")  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a study of the lab needs."""

    seed: int
    shape: Shape
    beta: float
    bare_from: BareFrom
    worlds: int
    distances: list[float]
    direction: Direction
    batch: int
    threads: int
    sampling: Sampling
    train: Training

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, LAST_SEED)
        for name, most in (("worlds", MOST_WORLDS), ("batch", 10**9), ("threads", 1024)):
            _within(name, getattr(self, name), 1, most)
        _within("beta", self.beta, *BETAS)
        fit = all(0 <= d <= FARTHEST for d in self.distances)
        if not self.distances or not fit or len(set(self.distances)) < len(self.distances):
            raise ConfigError(f"must be one or more different numbers from 0 to {FARTHEST:g}",
                              where="distances")  # fmt: skip
        if 0 not in self.distances:
            raise ConfigError("must have 0 among them: the reference itself, where b_t = 0 is "
                              "checked", where="distances")  # fmt: skip
