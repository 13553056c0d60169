"""The settings of the lab; conf/lab.yaml says what each means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bvrank.errors import ConfigError
from bvrank.lab.shape import BareFrom, Direction, Shape

Rule = Literal["sgd", "adamw"]
FEWEST_SEEDS = 2  # an interval wants two


@dataclass(frozen=True)
class Sampling:
    """The S-trace estimators: which S, and how many draws to each prompt."""

    sizes: list[int]
    draws: int

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) < len(self.sizes):
            raise ConfigError("must be one or more different whole numbers from 1", where="sizes")
        if self.draws < 64:
            raise ConfigError(f"must be at least 64, got {self.draws}", where="draws")


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
        if self.seeds < 0 or self.seeds == 1:
            raise ConfigError(f"must be 0, or at least {FEWEST_SEEDS}: an interval wants two, got "
                              f"{self.seeds}", where="seeds")  # fmt: skip
        for name in ("steps", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, got {getattr(self, name)}", where=name)
        if self.steps % self.every:
            raise ConfigError(f"must divide steps={self.steps}, got {self.every}", where="every")
        for name in ("rate", "adamw"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"must be greater than 0, got {getattr(self, name)}", where=name)
        if not self.rules or len(set(self.rules)) < len(self.rules):
            raise ConfigError("must name one or more, each once", where="rules")
        if self.traces < 2:
            raise ConfigError(f"must be at least 2: one trace is the arm g_t, got {self.traces}",
                              where="traces")  # fmt: skip


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
        for name in ("seed", "worlds", "batch", "threads"):
            low = 0 if name == "seed" else 1
            if getattr(self, name) < low:
                raise ConfigError(f"must be at least {low}, got {getattr(self, name)}", where=name)
        if not 0 < self.beta < math.inf:
            raise ConfigError(f"must be greater than 0, got {self.beta}", where="beta")
        fit = all(0 <= d < math.inf for d in self.distances)
        if not self.distances or not fit or len(set(self.distances)) < len(self.distances):
            raise ConfigError("must be one or more different numbers from 0", where="distances")
        if 0 not in self.distances:
            raise ConfigError("must have 0 among them: the reference itself, where b_t = 0 is "
                              "checked", where="distances")  # fmt: skip
