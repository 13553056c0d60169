from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.split import Found, _hash, divided, opening_key, prompt_key
from bvrank.errors import DataError
from bvrank.records import Candidate, Example, Message, Refused


@dataclass(frozen=True)
class Source:
    """Rows that can be read more than once."""

    given: Sequence[Found]

    def rows(self) -> Iterator[Found]:
        return iter(self.given)


def sides(pairs: Iterator[tuple[bool, Found]]) -> tuple[list[Found], list[Found]]:
    found: tuple[list[Found], list[Found]] = ([], [])
    for held, item in pairs:
        found[held].append(item)
    return found


def held_out_split(rows: Sequence[Found], fraction: float, seed: int
                   ) -> tuple[list[Found], list[Found]]:  # fmt: skip
    return sides(divided(Source(rows), None, fraction, seed))


def without_leaks(train: Sequence[Found], held: Sequence[Found]) -> list[Found]:
    return sides(divided(Source(train), Source(held), 0.0, 0))[0]


def with_texts(rows: Sequence[Found], fraction: float, seed: int
               ) -> tuple[list[Found], list[Found]]:  # fmt: skip
    """The oracle: whole prompts are compared, and all of them sorted."""
    prompts = {prompt_key(r) for r in rows if isinstance(r, Example)}
    count = min(max(1, round(fraction * len(prompts))), len(prompts) - 1)
    chosen = set(sorted(prompts, key=lambda p: (_hash(p, seed), p))[:count])
    out = [isinstance(r, Example) and prompt_key(r) in chosen for r in rows]
    return ([r for r, o in zip(rows, out, strict=True) if not o],
            [r for r, o in zip(rows, out, strict=True) if o])  # fmt: skip


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
    assert (train, held) == with_texts(rows, fraction, seed)
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


def test_what_is_held_out_by_a_file_comes_with_it() -> None:
    held = [row(7, "p"), Refused("a:9", "x", "y")]
    train, found = sides(divided(Source([row(0, "q")]), Source(held), 0.0, 0))
    assert found == held and train == [row(0, "q")]


def test_nothing_is_held_out_unless_asked() -> None:
    rows = [row(0, "p"), row(1, "p")]
    assert held_out_split(rows, 0.0, 0) == (rows, [])


def test_a_dialogue_has_one_opening_however_far_it_goes() -> None:
    def opening(*turns: tuple[str, str]) -> str:
        prompt = tuple(Message(role, said) for role, said in turns)  # type: ignore[arg-type]
        return opening_key(Example("a:1", prompt, (Candidate("x"), Candidate("y"))))

    first, answer = ("user", "Why  so?"), ("assistant", "b")
    one = opening(first)
    assert one == opening(("system", "s"), ("user", "why so?"), answer, ("user", "c"))
    assert one == opening(answer, first) == opening(first, answer, ("user", "other"))
    assert one != opening(("user", "c"), answer, first)
