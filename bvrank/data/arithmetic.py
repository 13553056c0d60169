"""Sums of digits with worked steps: problems that are made, not downloaded, and answers that can be checked.

A problem of `steps` additions is a sum of `steps + 1` digits; its trace is the running sum:

    question  3+5+2+9+4=?        trace  3+5=8 8+2=10 10+9=19 19+4=23        answer  23
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Literal

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
    """`count` distinct problems in an order drawn from `seed`; a shorter list is a prefix of a longer one.

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
            f"count={count}: only {len(found)} {split} problems of {steps} steps exist. "
            "Ask for fewer, or raise steps."
        )
    return [_problem(digits) for digits in found]


def correct(answer: str, gold: Problem | str) -> bool:
    """Whether a final answer text (no trace) states the gold number and nothing else.

    White space around it and one closing full stop are forgiven; "023", "=23" and "23 or 24" are not.
    """
    expected = gold.answer if isinstance(gold, Problem) else gold
    return answer.strip().removesuffix(".").rstrip() == expected.strip()


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
    """The numbers below `size` in random order, drawn lazily (Fisher-Yates on an array never built)."""
    draw, moved = random.Random(seed), dict[int, int]()
    for last in range(size):
        pick = draw.randrange(last, size)
        yield moved.get(pick, pick)
        moved[pick] = moved.pop(last, last)
