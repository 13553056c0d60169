"""Runs that are killed one after another over one folder, in a process of their own.

It is a small one: the process of the tests holds too much by then to be copied by fork.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bvrank.models.tiny import tiny_model
from bvrank.records import Asked, Scored
from bvrank.sampling import pipeline
from bvrank.sampling.local import Local, Transformers, Work
from bvrank.sampling.prompts import Arithmetic
from bvrank.sampling.responses import MODES, Prompt
from tests.sampling.saying import TEMPLATE
from tests.signals import killed_at_write

PROMPTS = [p for p in Arithmetic(12, 0).prompts() if isinstance(p, Prompt)]
WORK = Work(PROMPTS, MODES, 2, 0)


class Lengths:
    """A reward of no sense."""

    identity = "lengths"
    together: int | None = None

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        for a in asked:
            yield Scored(a.key, float(a.key.rpartition(":")[2]))


def whole(folder: Path, generator: Any, reward: Any, work: Work = WORK) -> None:
    pipeline.generate(folder, work, generator)
    pipeline.score(folder, PROMPTS, pipeline.responses_of(folder), reward)


def generator() -> Local:
    """A model that rarely ends: its responses run to their last token."""
    model = tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=16)
    return Local(model, TEMPLATE, Transformers(1.0, 1.0, 12, sequences=4))


def main(folder: Path, times: int) -> None:
    """Every run dies at a seeded write and a seeded share of it."""
    made, reward, draw = generator(), Lengths(), random.Random(0)
    for _ in range(times):
        moment = draw.randrange(4), draw.choice([0.0, draw.random(), 1.0])
        child = os.fork()
        if not child:
            killed_at_write(*moment)
            whole(folder, made, reward)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it came to its end"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
