"""Orders of a list: those in which candidates are shown, those that scores give, and how far what
is found depends on what was shown."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, stdev

DRAWS = 16  # orders that stand for the mean over all orders of equal items


def shown_orders(where: str, count: int, first: Sequence[int] | None, number: int, seed: int
                 ) -> list[tuple[int, ...]]:  # fmt: skip
    """`number` orders of `count` candidates, each a tuple of candidates by place: `first` (ranks
    from 1, by candidate) if given, the others drawn by (seed, where), all different as long as
    there are as many."""
    dice = _dice(seed, where)
    found: list[tuple[int, ...]] = []
    if first is not None:
        found.append(tuple(sorted(range(count), key=lambda c: first[c])))
    while len(found) < number:
        order = tuple(dice.sample(range(count), count))
        if order not in found or len(found) >= _factorial(count):
            found.append(order)
    return found[:number]


def ranks_of(order: Sequence[int]) -> tuple[int, ...]:
    """The place of each candidate, from 1."""
    places = {candidate: place for place, candidate in enumerate(order, start=1)}
    return tuple(places[c] for c in range(len(order)))


def ranked(scores: Sequence[float], where: str, seed: int) -> list[list[int]]:
    """Candidates by falling score: one order, or DRAWS of them where some are equal, in which those
    stand in drawn orders."""
    if len(set(scores)) == len(scores):
        return [_sorted(scores, list(range(len(scores))))]
    dice = _dice(seed, f"{where} ties")
    return [_sorted(scores, dice.sample(range(len(scores)), len(scores))) for _ in range(DRAWS)]


def tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b of two scorings of the same candidates; None where either has all equal."""
    pairs = list(combinations(range(len(one)), 2))
    signs = [(_sign(one[i] - one[j]), _sign(other[i] - other[j])) for i, j in pairs]
    apart = [sum(s[k] != 0 for s in signs) for k in (0, 1)]
    if not all(apart):
        return None
    return float(sum(a * b for a, b in signs) / (apart[0] * apart[1]) ** 0.5)


def sensitivity(values: Sequence[float], scores: Sequence[Sequence[float]],
                orders: Sequence[Sequence[int]]) -> dict[str, float]:  # fmt: skip
    """How one query's ranking moved over shuffles. `values`: the measure under each, `scores`: of
    the candidates, `orders`: in which they were shown.

    order_sd        standard deviation of the measure
    order_range     its largest less its smallest
    order_tau       mean Kendall's tau-b of two shuffles' rankings: 1 says that they agree
    position_bias   mean tau-b of a ranking with the order shown: above 0 what is shown first wins
    """
    taus = [t for a, b in combinations(scores, 2) if (t := tau(a, b)) is not None]
    first = [[-float(r) for r in ranks_of(order)] for order in orders]
    biases = [t for s, o in zip(scores, first, strict=True) if (t := tau(s, o)) is not None]
    found = {"order_sd": stdev(values), "order_range": max(values) - min(values)}
    found |= {"order_tau": fmean(taus)} if taus else {}
    return found | ({"position_bias": fmean(biases)} if biases else {})


def _sorted(scores: Sequence[float], candidates: list[int]) -> list[int]:
    return sorted(candidates, key=lambda c: -scores[c])


def _dice(seed: int, text: str) -> random.Random:
    return random.Random(hashlib.sha256(f"{seed}|{text}".encode()).digest())


def _factorial(count: int) -> int:
    total = 1
    for n in range(2, min(count, 12) + 1):
        total *= n
    return total


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
