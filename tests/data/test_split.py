from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.split import held_out_split, prompt_key, without_leaks
from bvrank.errors import DataError
from bvrank.records import Candidate, Example, Message, Refused


def row(number: int, prompt: str) -> Example:
    return Example(f"a:{number}", (Message("user", prompt),), (Candidate("x"), Candidate("y")))


def keys(rows: list) -> set[str]:
    return {prompt_key(r) for r in rows if isinstance(r, Example)}


@given(
    prompts=st.lists(st.integers(0, 30), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_no_prompt_is_on_both_sides_whatever_the_order(
    prompts: list[int], fraction: float, seed: int, order: random.Random
) -> None:
    if len(set(prompts)) < 2:
        return
    rows = [row(i, f"p{p}") for i, p in enumerate(prompts)]
    train, held = held_out_split(rows, fraction, seed)
    assert sorted([*train, *held], key=rows.index) == rows
    assert not keys(train) & keys(held) and train and held
    wanted = round(fraction * len(set(prompts)))
    assert len(keys(held)) == min(max(1, wanted), len(set(prompts)) - 1)
    mixed = list(rows)
    order.shuffle(mixed)
    assert keys(held_out_split(mixed, fraction, seed)[1]) == keys(held)


def test_the_seed_decides() -> None:
    rows = [row(i, f"p{i}") for i in range(40)]
    assert keys(held_out_split(rows, 0.3, 0)[1]) != keys(held_out_split(rows, 0.3, 1)[1])


def test_refused_rows_stay_with_train() -> None:
    lost = Refused("a:9", "x", "y")
    train, held = held_out_split([row(0, "p"), lost, row(1, "q")], 0.5, 0)
    assert lost in train and len(held) == 1
    assert held_out_split([lost], 0.5, 0) == ([lost], [])


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(DataError, match="share one prompt"):
        held_out_split([row(0, "p"), row(1, "p")], 0.5, 0)


def test_train_gives_way_to_what_is_held_out() -> None:
    lost = Refused("a:9", "x", "y")
    train = without_leaks([row(0, "P  q"), lost, row(1, "r")], [row(7, "p q\n"), lost])
    assert train[1:] == [lost, row(1, "r")]
    assert isinstance(train[0], Refused)
    assert (train[0].reason, train[0].where) == ("in_eval", "a:0") and "a:7" in train[0].detail


def test_a_system_turn_does_not_make_another_prompt() -> None:
    told = Example("a:1", (Message("system", "s"), Message("user", "p")), row(0, "p").candidates)
    assert prompt_key(told) == prompt_key(row(0, "p")) != prompt_key(row(0, "p2"))
    turns = (Message("user", "p"), Message("assistant", "q"))
    assert prompt_key(Example("a", turns, ())) != prompt_key(Example("a", (*turns[:1],) * 2, ()))
