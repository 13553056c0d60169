from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from bvrank.data.converters.pool import How, Pool, best, plain_key, title_key

TEXTS = ["a", "b", "b", "c", "c", "c", "c", "d"]


@pytest.mark.parametrize("how", ["random", "frequency", "bm25"])
@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_a_draw_is_as_long_as_can_be_and_holds_nothing_barred_or_twice(
    how: How, count: int
) -> None:
    pool = Pool(TEXTS, plain_key)
    for seed in range(20):
        drawn = pool.draw(how, count, {"b"}, Random(seed), "b c")
        assert len(drawn) == len(set(drawn)) == min(count, 3) and "b" not in drawn


def test_frequent_texts_are_drawn_more_often_and_all_are_as_often_at_random() -> None:
    pool = Pool(TEXTS, plain_key)
    for how, shares in (("frequency", (1 / 8, 2 / 8, 4 / 8, 1 / 8)), ("random", (1 / 4,) * 4)):
        drawn = Counter(pool.draw(how, 1, (), Random(i), "")[0] for i in range(4000))  # type: ignore[arg-type]
        for text, share in zip("abcd", shares, strict=True):
            assert drawn[text] / 4000 == pytest.approx(share, abs=0.04)


def test_a_catalogue_is_drawn_at_random_and_never_for_being_frequent() -> None:
    pool = Pool(TEXTS, plain_key, ["e", "f"])
    frequent = [pool.draw("frequency", 1, (), Random(i), "")[0] for i in range(200)]
    assert set(frequent) == set("abcd")
    assert {pool.draw("random", 1, (), Random(i), "")[0] for i in range(200)} == set("abcdef")
    assert set(pool.draw("frequency", 6, (), Random(0), "")) == set("abcdef")


def test_bm25_finds_what_shares_words_and_fills_up_at_random() -> None:
    pool = Pool(["red apple", "green apple", "blue sky", "deep sea"], plain_key)
    assert pool.draw("bm25", 2, (), Random(0), "An apple that is green")[0] == "green apple"
    assert set(pool.draw("bm25", 2, (), Random(0), "apple")) == {"red apple", "green apple"}
    assert len(pool.draw("bm25", 4, (), Random(0), "nothing of that")) == 4
    assert Pool(["1", "2"], plain_key).draw("bm25", 1, (), Random(0), "1") in (["1"], ["2"])
    assert Pool([], plain_key).draw("bm25", 1, (), Random(0), "x") == []


@pytest.mark.parametrize("kinds", [1, 2, 5, 400])
def test_the_best_are_those_of_a_full_stable_sort(kinds: int) -> None:
    for seed in range(40):
        scores = np.random.default_rng(seed).integers(0, kinds + 1, 300).astype(np.float32) / 8
        full = [i for i in np.argsort(-scores, kind="stable").tolist() if scores[i] > 0]
        for count in (1, 2, 20, 150, 299, 300, 301):
            assert best(scores, count) == full[:count]
    assert best(np.zeros(3, np.float32), 2) == best(np.zeros(0, np.float32), 2) == []


def test_texts_that_fit_a_query_equally_well_are_taken_in_their_order() -> None:
    """Whatever is barred, and as many as are asked for."""
    texts = [f"apple {i:03}" for i in range(200)] + [f"apple apple {i:03}" for i in range(5)]
    pool = Pool(texts, plain_key)
    ordered = pool.draw("bm25", len(texts), (), Random(0), "apple")
    assert ordered == sorted(texts[200:]) + sorted(texts[:200])
    for count in (1, 4, 7, 50):
        barred = set(ordered[:count:2])
        left = [t for t in ordered if t not in barred]
        assert pool.draw("bm25", count, barred, Random(1), "apple") == left[:count]


def test_the_order_of_a_corpus_does_not_matter() -> None:
    for how in ("random", "frequency", "bm25"):
        one, other = (
            [Pool(t, plain_key).draw(how, 2, (), Random(i), "c d") for i in range(9)]  # type: ignore[arg-type]
            for t in (TEXTS, TEXTS[::-1])
        )
        assert one == other


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It (2017)", "it", True),
        ("Shazam!", "SHAZAM", True),
        ("Spider-Man: Far from Home (2019)", "Spider Man far from home", True),
        ("2012 (2009)", "2012", True),
        ("Toy Story", "Toy Story 2", False),
        ("Ⅳ", "IV", True),
        ("!!!", "???", False),
    ],
)
def test_titles_are_the_same_but_for_marks_case_and_year(one: str, other: str, same: bool) -> None:
    assert (title_key(one) == title_key(other)) is same


def test_numbers_that_differ_in_sign_stay_apart() -> None:
    assert len({plain_key(t) for t in ("3", "-3", "3.", "3.5")}) == 3
