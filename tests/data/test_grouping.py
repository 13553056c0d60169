from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.converters import Draft
from bvrank.data.grouping import dice, parted
from bvrank.errors import DataError


def drafts(*keys: str) -> list[Draft]:
    """One for each word, whose letters are its keys."""
    return [Draft(f"a:{i}", tuple(word), word) for i, word in enumerate(keys)]


def words(side: list[Draft]) -> list[str]:
    return [d.content for d in side]


@given(
    st.lists(st.text("abcdefghij", min_size=1, max_size=3), min_size=2, max_size=25),
    st.integers(0, 9),
    st.floats(0.01, 0.99),
)
def test_no_key_stands_on_both_sides_whatever_the_order(
    found: list[str], seed: int, fraction: float
) -> None:
    try:
        train, test = parted(drafts(*found), fraction, seed)
    except DataError:
        return  # all hang together
    assert train and test and sorted(words(train) + words(test)) == sorted(found)
    assert not set("".join(words(train))) & set("".join(words(test)))
    random.Random(seed).shuffle(found)
    again = parted(drafts(*found), fraction, seed)
    assert sorted(words(again[1])) == sorted(words(test))


def test_rows_that_hang_together_over_others_stay_together() -> None:
    for seed in range(9):
        train, test = parted(drafts("ab", "bc", "cd", "x"), 0.5, seed)
        assert words(train) in (["ab", "bc", "cd"], ["x"]) and len(train) + len(test) == 4


def test_the_share_is_one_of_groups() -> None:
    many = drafts(*map(chr, range(1000, 1100)))
    for fraction, count in ((0.1, 10), (0.001, 1), (0.999, 99)):
        assert len(parted(many, fraction, 0)[1]) == count
    assert len({tuple(words(parted(many, 0.1, s)[1])) for s in range(5)}) == 5
    assert parted(many, 0.0, 0) == (many, [])


def test_a_single_group_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="all rows share one dialogue"):
        parted(drafts("ab", "bc", "ca"), 0.5, 0)


def test_dice_fall_alike_for_the_same_text_and_seed_alone() -> None:
    assert dice(0, "a").random() == dice(0, "a").random()
    assert len({dice(s, t).random() for s in (0, 1) for t in ("a", "b", "\ud800")}) == 6
