"""A small world, made once."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from bvrank.lab.moments import Candidates, Gradients, candidates, gradients
from bvrank.lab.policy import World, moved, world
from bvrank.lab.scoring import Score
from bvrank.lab.shape import Shape

SHAPE = Shape(alphabet=4, length=3, prompts=2, hidden_size=8, layers=2, heads=2, spread=2.0)


@lru_cache
def score() -> Score:
    return Score(SHAPE)


@lru_cache
def small(seed: int = 0, bare_from: str = "fresh") -> World:
    return world(score(), 0.7, bare_from, seed)  # type: ignore[arg-type]


@lru_cache
def policy(distance: float = 0.1, seed: int = 0) -> dict[str, Tensor]:
    return moved(small(seed), distance, "random", seed)


@lru_cache
def measured(distance: float = 0.1, seed: int = 0) -> tuple[Candidates, Gradients]:
    own, weights = small(seed), policy(distance, seed)
    found = candidates(own, weights)
    return found, gradients(own, found)
