"""Which rows a step draws is a function of seed and step alone."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.data.loader import Order, Place, streams_of
from bvrank.records import Encoded
from tests.scoring.trees import marked

TREES = marked(0, 7)
sizes = st.integers(1, 9)


def places(order: Order, steps: int) -> list[tuple[Place, ...]]:
    return [p for n in range(1, steps + 1) for p in order.step(n, TREES)]


def rows(order: Order, steps: int, stream: int = 0) -> list[int]:
    return [p[stream].row for p in places(order, steps)]


@settings(max_examples=40, deadline=None)
@given(batch=sizes, count=st.integers(1, 7), seed=st.integers(0, 50))
def test_every_pass_takes_every_row_once(batch: int, count: int, seed: int) -> None:
    drawn = iter(rows(Order((np.arange(count),), seed, batch), 3 * count))
    for _ in range(3):  # 3 passes fit into 3 * count steps of any size
        assert sorted(islice(drawn, count)) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(batch=sizes, steps=st.integers(0, 6), count=st.integers(1, 7), seed=st.integers(0, 9))
def test_drawn_is_what_the_steps_draw(batch: int, steps: int, count: int, seed: int) -> None:
    order = Order((np.arange(count), np.arange(0, 7, 2)), seed, batch)
    seen = {p.row for example in places(order, steps) for p in example}
    assert order.drawn(steps).tolist() == sorted(seen)


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    order = Order((np.arange(7),), 3, 4)
    whole = places(order, 6)
    again = list(order.step(5, TREES))
    for one, two in zip(whole[16:20], again, strict=True):
        assert one[0].row == two[0].row and np.array_equal(one[0].draw, two[0].draw)


def test_the_batch_size_cuts_one_and_the_same_sequence() -> None:
    small, large = (Order((np.arange(7),), 3, b) for b in (2, 6))
    assert rows(small, 9) == rows(large, 3)


def test_passes_and_seeds_differ() -> None:
    def first(seed: int) -> list[int]:
        return rows(Order((np.arange(7),), seed, 7), 4)

    passes = [tuple(first(0)[i : i + 7]) for i in range(0, 28, 7)]
    assert len(set(passes)) > 1 and first(0) != first(1)


def test_draws_depend_on_the_pass_and_lie_in_the_unit_interval() -> None:
    order = Order((np.arange(7),), 0, 7)
    by_row: dict[int, list[tuple[float, ...]]] = {}
    for (place,) in places(order, 5):
        assert len(place.draw) == len(TREES[place.row].branches)
        assert ((place.draw >= 0) & (place.draw < 1)).all()
        by_row.setdefault(place.row, []).append(tuple(place.draw))
    assert all(len(set(d)) == 5 for d in by_row.values())
    firsts = {d[0][0] for d in by_row.values()}
    assert len(firsts) == 7


def test_draws_are_uniform() -> None:
    order = Order(((0,),), 0, 1000)
    values = [p[0].draw[0] for p in order.step(1, TREES)]
    tenths = Counter(int(10 * v) for v in values)
    chi_square = sum((tenths[i] - 100) ** 2 / 100 for i in range(10))
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001; the seed is fixed


def test_streams_have_passes_of_their_own() -> None:
    full, bare = tuple(range(7)), (1, 3)
    order = Order((full, bare), 2, 7)
    assert sorted(rows(order, 1, 0)) == list(full)
    assert Counter(rows(order, 2, 1)) == {1: 7, 3: 7}
    assert rows(Order((full, full), 2, 7), 1, 0) != rows(Order((full, full), 2, 7), 1, 1)


def test_streams_of_views() -> None:
    views = ("full", "bare")
    (every,) = streams_of(TREES, views, independent=False)
    assert every.tolist() == list(range(7))
    for stream, view in zip(streams_of(TREES, views, independent=True), views, strict=True):
        assert stream.tolist() == [i for i, t in enumerate(TREES) if view in _views(t)]


def _views(tree: Encoded) -> set[str]:
    return {b.view for b in tree.branches}


@pytest.mark.parametrize("step", [1, 10**6])
def test_far_steps_cost_what_near_ones_do(step: int) -> None:
    assert len(list(Order((np.arange(7),), 0, 4).step(step, TREES))) == 4
