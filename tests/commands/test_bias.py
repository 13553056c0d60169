from __future__ import annotations

import math
import random

import pytest

from bvrank.commands.bias import LEAST, SHARE, finding, gap, told
from bvrank.data.gaps import Lengths


def pairs(differences: list[int], base: int = 100) -> list[Lengths]:
    return [Lengths(f"f:{i}", base + d, base) for i, d in enumerate(differences, start=1)]


def test_mean_effect_and_shares_by_hand() -> None:
    found = gap(pairs([2, 4, 0, -2]))
    assert found.difference.mean == 1 and found.difference.n == 4
    assert found.difference.std == pytest.approx(math.sqrt(20 / 3))
    assert found.effect == pytest.approx(1 / math.sqrt(20 / 3))
    assert (found.longer, found.shorter) == (0.5, 0.25)
    assert told(gap(pairs([3]))) == "+3.0"


def test_the_two_ways_to_be_large() -> None:
    often = [1] * 85 + [-4] * 15  # small and frequent
    assert gap(pairs(often)).longer > SHARE and gap(pairs(often)).effect < 0.8
    assert gap(pairs(often)).large
    strong = [10] * 70 + [-1] * 30  # strong, though in 70 % alone
    assert gap(pairs(strong)).longer < SHARE and gap(pairs(strong)).large
    assert gap(pairs([-d for d in strong])).large  # either way


def test_chance_and_small_files_are_not_large() -> None:
    draw = random.Random(0)
    assert not any(
        gap(pairs([draw.randint(-50, 50) for _ in range(200)])).large for _ in range(200)
    )
    assert not gap(pairs([9] * (LEAST - 1))).large
    assert gap(pairs([9] * LEAST)).large  # the same number each time: no chance in it
    assert not gap(pairs([0] * 50)).large
    assert not gap(pairs([1] * 55 + [-1] * 45)).large


def test_the_finding_names_the_widest_rows_first() -> None:
    found = finding("full", "trace", pairs([-1] * 20 + [-30, 5]))
    assert found is not None and found.count == 22
    assert "shorter one in 95% of the pairs" in found.what
    assert (found.rows[0].where, found.rows[0].detail) == ("f:21", "70 against 100")
    assert found.rows[-1].where == "f:22"
    assert finding("full", "trace", pairs([1, -1] * 20)) is None
