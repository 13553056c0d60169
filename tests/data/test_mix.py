from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bvrank.data.encoding import Listing
from bvrank.data.lists import Lists
from bvrank.data.mix import Mix, Part
from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError, DataError
from bvrank.records import BARE, FULL, Candidate, Example, Message, Refused


@dataclass(frozen=True)
class Fixed:
    name: str
    size: int
    view: str = FULL
    bad: int = 0

    def rows(self) -> Iterator[Example | Refused]:
        mode: Any = "nothinking" if self.view == BARE else "plain"
        for i in range(self.size):
            sides = tuple(Candidate(a, None, self.view, mode) for a in "ab")
            yield Example(f"{self.name}:{i}", (Message("user", "q"),), sides)
        yield from (Refused(f"{self.name}:bad{i}", "x", "y") for i in range(self.bad))


def names(mix: Mix) -> list[str]:
    return [r.where for r in mix.rows() if isinstance(r, Example)]


def test_without_weights_every_row_stands_once() -> None:
    mix = Mix({"a": Part(Fixed("a", 2, bad=1)), "b": Part(Fixed("b", 1))})
    assert [r.where for r in mix.rows()] == ["a:0", "a:1", "a:bad0", "b:0"]


def test_a_slot_moves_the_view_and_keeps_the_rendering() -> None:
    mix = Mix({"t": Part(Fixed("t", 1)), "e": Part(Fixed("e", 1, BARE), slot="full")})
    thinking, bare = mix.rows()
    assert {c.view for row in (thinking, bare) for c in row.candidates} == {FULL}
    assert {c.mode for c in bare.candidates} == {"nothinking"}


def test_two_views_in_one_slot_are_two_examples() -> None:
    @dataclass(frozen=True)
    class Both:
        def rows(self) -> Iterator[Example]:
            sides = [Candidate(a, None, v, "nothinking") for v in (FULL, BARE) for a in "ab"]
            yield Example("x:1", (Message("user", "q"),), tuple(sides))

    found = list(Mix({"x": Part(Both(), slot="bare")}).rows())
    assert [[c.view for c in row.candidates] for row in found] == [[BARE, BARE]] * 2


@pytest.mark.parametrize(
    ("weights", "expected"), [((1, 1), (55, 55)), ((9, 1), (99, 11)), ((1, 10), (10, 100))]
)
def test_weights_hold_by_repeating_and_leaving_out(
    weights: tuple[float, float], expected: tuple[int, int]
) -> None:
    parts = {
        "a": Part(Fixed("a", 100, bad=1), weight=weights[0]),
        "b": Part(Fixed("b", 10), weight=weights[1]),
    }
    found = names(Mix(parts))
    kinds = Counter(w[0] for w in found)
    assert (kinds["a"], kinds["b"]) == expected
    times = Counter(found)
    for kind in "ab":
        used = [n for w, n in times.items() if w[0] == kind]
        size = {"a": 100, "b": 10}[kind]
        assert max(used) - (min(used) if len(used) == size else 0) <= 1  # evenly
    assert sum(isinstance(r, Refused) for r in Mix(parts).rows()) == 1
    assert found == names(Mix(parts))
    assert found != names(Mix(parts, seed=1))


def test_a_weighted_part_without_rows_is_an_error() -> None:
    parts = {"a": Part(Fixed("a", 2), weight=1.0), "b": Part(Fixed("b", 0), weight=1.0)}
    with pytest.raises(DataError, match=r"data\.parts\.b"):
        list(Mix(parts).rows())


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Mix({}), "parts"),
        (lambda: Mix({"a": Part(Fixed("a", 1), weight=1.0), "b": Part(Fixed("b", 1))}),
         "parts.b.weight"),
        (lambda: Part(Fixed("a", 1), slot="half"), "slot"),
        (lambda: Part(Fixed("a", 1), weight=0.0), "weight"),
        (lambda: Mix({"a": Part(Lists("l")), "b": Part(Lists("l", context="inlist"))}), "parts"),
        (lambda: Mix({"a": Part(Fixed("a", 1))}).held("h"), "eval_path"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit(make: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.where == where


def test_the_listing_is_that_of_its_parts_and_held_out_rows_are_read_as_the_first() -> None:
    mix = Mix({"a": Part(Pairs("p"), slot="full", weight=2.0), "b": Part(Pairs("e"), weight=1.0)})
    assert mix.listing == Listing()
    assert mix.held("h") == Mix({"a": Part(Pairs("h"), slot="full")})
    inlist = Lists("l", context="inlist")
    assert Mix({"a": Part(inlist), "b": Part(Pairs("p"))}).listing == inlist.listing
