"""Whatever the sizes, every example is in one group, and ranks get as much as each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.cutting import dealt, slices, within
from bvrank.scoring.collate import Collator, Size

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=24)


@given(st.integers(1, 30), st.integers(1, 9))
def test_slices_are_in_order(count: int, micro: int) -> None:
    groups = slices(count, micro)
    assert [i for group in groups for i in group] == list(range(count))
    assert {len(group) for group in groups[:-1]} <= {micro} and len(groups[-1]) <= micro


@given(SIZES, st.integers(1, 4), st.integers(1, 4))
def test_each_rank_gets_as_many_groups_of_so_many(sizes: list[int], micro: int, world: int) -> None:
    sizes = sizes * micro * world
    groups = dealt(sizes, micro, world)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    assert all(len(group) == micro for group in groups) and len(groups) % world == 0
    assert groups == dealt(sizes, micro, world)


@given(SIZES, st.integers(2, 4))
def test_ranks_differ_by_little(sizes: list[int], world: int) -> None:
    sizes = sizes * world
    groups = dealt(sizes, 1, world)
    load = [sum(sizes[i] for g in groups[r::world] for i in g) for r in range(world)]
    assert max(load) - min(load) <= 2 * max(sizes)


def test_the_long_ones_go_to_different_ranks() -> None:
    one, other = dealt([9, 9, 1, 1], 2, 2)
    assert sum(i < 2 for i in one) == sum(i < 2 for i in other) == 1


@given(SIZES, st.integers(1, 80), st.integers(1, 4))
def test_no_group_is_over_the_budget_unless_one_example_is(
    sizes: list[int], budget: int, world: int
) -> None:
    def cost(group: list[int]) -> int:
        return sum(sizes[i] for i in group)

    groups = within([Size(n) for n in sizes], Collator().tokens, budget, world)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    assert all(len(group) <= 1 or cost(group) <= budget for group in groups)
    assert len(groups) % world == 0 and sum(not group for group in groups) < world
    small = [group for group in groups if group and cost(group) <= budget / 2]
    assert len(small) <= 1  # else two would have gone together


def test_a_large_budget_is_one_group() -> None:
    sizes = [Size(3), Size(1), Size(2)]
    assert within(sizes, Collator().tokens, 6, 1) == [[0, 1, 2]]
    assert within(sizes, Collator().tokens, 5, 1) == [[0, 2], [1]]


def test_rows_of_a_branch_each_cost_what_fills_them_up() -> None:
    sizes = [Size(30, 20, 2), Size(9, 5, 2), Size(9, 5, 2)]
    padded = Collator("padded").tokens
    assert within(sizes, padded, 40, 1) == [[0], [1, 2]]  # 40, and 4 branches of 5
    assert within(sizes, padded, 80, 1) == [[0, 1], [2]]
    assert within(sizes, padded, 120, 1) == [[0, 1, 2]]
