"""Sums of digits with worked steps: problems that are made, with answers that can be checked.

A problem of `steps` additions is a sum of `steps + 1` digits; its trace is the running sum:

    question  3+5+2+9+4=?        trace  3+5=8 8+2=10 10+9=19 19+4=23        answer  23
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Literal

from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError
from bvrank.records import FULL, Candidate, Example, Message, Refused

Split = Literal["train", "test"]
STEPS = 4
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Problem:
    """A question, the steps a teacher writes, and the final answer as the assistant says it."""

    question: str
    trace: str
    answer: str


def problems(count: int, seed: int, split: Split, steps: int = STEPS) -> list[Problem]:
    """`count` distinct problems, in an order drawn from `seed`; fewer are the first of more.

    The split is a property of the problem: no seed or count can put one in both, and a sum whose
    digits are only re-ordered falls into the same split. Raises ValueError when fewer exist.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: choose 'train' or 'test'.")
    if count < 0 or steps < 1:
        raise ValueError(f"count={count}, steps={steps}: count must be >= 0 and steps >= 1.")
    drawn = (_digits(index, steps + 1) for index in _shuffled(10 ** (steps + 1), seed))
    found = list(islice((d for d in drawn if _split(d) == split), count))
    if len(found) < count:
        raise ValueError(
            f"only {len(found):,} {split} problems of {steps} steps exist: ask for at most so many."
        )
    return [_problem(digits) for digits in found]


def correct(answer: str, gold: Problem | str) -> bool:
    """Whether a final answer text (no trace) states the gold number and nothing else.

    White space around it and one closing full stop are forgiven; "023" and "23 or 24" are not.
    """
    expected = gold.answer if isinstance(gold, Problem) else gold
    return stated(answer) == expected.strip()


def stated(answer: str) -> str:
    """What of an answer is compared with the gold number."""
    return answer.strip().removesuffix(".").rstrip()


@dataclass(frozen=True)
class Arithmetic:
    """The source of data=arithmetic: pairs of right against wrong, sampled by the policy itself.

    `samples` responses to each of `problems` train problems, in both modes, at `temperature`, of at
    most `max_new_tokens`; drawn by `seed`. Accuracy is measured on `test_problems` problems of the
    test split with `test_samples` samples each. `traces`: how many samples that reach one answer
    make a side of D_t, at most. `pairing`: as in Pairs. `path` is the file of pairs; None until it
    is made.
    """

    problems: int = 900
    samples: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 48
    traces: int = 1
    seed: int = 0
    test_problems: int = 500
    test_samples: int = 4
    pairing: Literal["prompt", "independent"] = "independent"
    path: str | None = None

    def __post_init__(self) -> None:
        for name in ("problems", "max_new_tokens", "traces", "test_problems", "test_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, got {getattr(self, name)}", where=name)
        if self.samples < 2:
            raise ConfigError(
                f"must be at least 2 to hold a right and a wrong one, got {self.samples}",
                where="samples",
            )
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"must be greater than 0, got {self.temperature}", where="temperature"
            )
        if self.seed < 0:
            raise ConfigError(f"must be at least 0, got {self.seed}", where="seed")
        self._check_enough("problems", "train")
        self._check_enough("test_problems", "test")

    def held(self, path: str) -> Pairs:
        """Held-out pairs, from a file."""
        return Pairs(path, pairing=self.pairing)

    def _check_enough(self, name: str, split: Split) -> None:
        try:
            problems(getattr(self, name), self.seed, split)
        except ValueError as error:
            raise ConfigError(str(error), where=name) from None

    def rows(self) -> Iterator[Example | Refused]:
        """The pairs of `path`; a problem's two views stand in one row where both have a pair."""
        if self.path is None:
            raise ConfigError("the pairs were not made yet", where="data.path")
        return Pairs(self.path, pairing=self.pairing).rows()


@dataclass(frozen=True)
class Demonstrations:
    """A teacher's solutions, one mode each: the share `nothinking` of the problems is answered
    without a trace. All stand in the view full, so that SFT takes one mean over their tokens."""

    problems: int
    seed: int
    nothinking: float

    def rows(self) -> Iterator[Example | Refused]:
        """One example per problem."""
        draw = random.Random(self.seed)
        for number, p in enumerate(problems(self.problems, self.seed, "train")):
            bare = draw.random() < self.nothinking
            answer = (
                Candidate(p.answer, None, FULL, "nothinking", 1.0)
                if bare
                else Candidate(p.answer, p.trace, FULL, "thinking", 1.0)
            )
            yield Example(f"demonstration:{number + 1}", (Message("user", p.question),), (answer,))


def _problem(digits: tuple[int, ...]) -> Problem:
    total, lines = digits[0], []
    for digit in digits[1:]:
        lines.append(f"{total}+{digit}={total + digit}")
        total += digit
    return Problem("+".join(map(str, digits)) + "=?", " ".join(lines), str(total))


def _digits(index: int, width: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in f"{index:0{width}d}")


def _split(digits: tuple[int, ...]) -> Split:
    # Keyed by the sorted digits: 3+5 and 5+3 are one problem to a model that has learnt to commute.
    mark = blake2b(bytes(sorted(digits)), digest_size=4, key=b"bvrank arithmetic").digest()
    return "test" if int.from_bytes(mark, "big") < TEST_SHARE * 2**32 else "train"


def _shuffled(size: int, seed: int) -> Iterator[int]:
    """The numbers below `size` in random order, drawn lazily (a Fisher-Yates of no array)."""
    draw, moved = random.Random(seed), dict[int, int]()
    for last in range(size):
        pick = draw.randrange(last, size)
        yield moved.get(pick, pick)
        moved[pick] = moved.pop(last, last)
