"""Whatever the layout, every branch is scored once and every token sees its ancestors alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from bvrank.records import Branch, Encoded, Segment, TokenRows
from bvrank.scoring.layout import Cost, Layout, Planted, lay_out
from bvrank.scoring.scorer import visible
from tests.scoring.trees import marked

FREE, DEAR, REAL = Cost(1.0, 0.0), Cost(0.0, 1.0), Cost(1e6, 1e3)
SHORT = Cost(40.0, 1.0)  # rows of 10 tokens, so that several trees need several rows
CASES: list[tuple[Layout, Cost]] = [
    ("padded", REAL), ("masked", FREE), ("masked", DEAR), ("masked", REAL), ("masked", SHORT),
    ("forest", REAL), ("forest", Cost(call=0.0)),
]  # fmt: skip


def planted(trees: list[Encoded]) -> list[Planted]:
    owners = iter(range(10**6))
    return [Planted(t, t.branches, tuple(next(owners) for _ in t.branches)) for t in trees]


def ancestry(trees: list[Encoded]) -> dict[int, list[int]]:
    """For each token id, the ids from its root to itself."""
    out = {}
    for tree in trees:
        for s, path in enumerate(tree.paths()):
            before = [int(i) for p in path[:-1] for i in tree.segments[p].ids]
            own = [int(i) for i in tree.segments[s].ids]
            out |= {token: before + own[: at + 1] for at, token in enumerate(own)}
    return out


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("layout", "cost"), CASES)
def test_every_branch_is_scored_once_from_the_token_before(
    layout: Layout, cost: Cost, seed: int
) -> None:
    trees = marked(seed)
    plants, lines = planted(trees), ancestry(trees)
    expected = Counter(
        (owner, int(token))
        for plant in plants
        for branch, owner in zip(plant.branches, plant.owners, strict=True)
        for s in branch.segments
        for token in plant.tree.segments[s].ids
    )
    found: Counter[tuple[int, int]] = Counter()
    for rows in lay_out(plants, layout, cost):
        before = rows.ids.flatten()[rows.source].tolist()
        for source, target, owner in zip(
            before, rows.target.tolist(), rows.owner.tolist(), strict=True
        ):
            assert lines[target][-2] == source
            found[owner, target] += 1
    assert found == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("layout", "cost"), CASES)
def test_positions_are_depths_and_the_mask_is_ancestry(
    layout: Layout, cost: Cost, seed: int
) -> None:
    trees = marked(seed)
    lines = ancestry(trees)
    for rows in lay_out(planted(trees), layout, cost):
        assert rows.tokens == int((rows.ids > 0).sum())
        seen = visible(rows) if rows.sees is not None else torch.ones(1).expand(
            len(rows.ids), rows.ids.shape[1], rows.ids.shape[1]).tril() > 0  # fmt: skip
        for n, row in enumerate(rows.ids.tolist()):
            for t, token in enumerate(row):
                if token:
                    assert int(rows.position[n, t]) == len(lines[token]) - 1
                    assert sorted(row[u] for u in seen[n, t].nonzero()[:, 0]) == lines[token]
                else:
                    assert bool(seen[n, t, t])  # no softmax is empty


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("layout", "cost"), CASES)
def test_rows_are_no_longer_than_allowed(layout: Layout, cost: Cost, seed: int) -> None:
    trees = marked(seed)
    for rows in lay_out(planted(trees), layout, cost):
        real = (rows.ids > 0).sum(1)
        assert int(real.max()) == rows.ids.shape[1]  # none is padding alone
        if layout == "forest":
            assert real.tolist() == [sum(map(_used, planted(trees)))]
        elif rows.sees is not None:
            assert rows.ids.shape[1] <= max(cost.roomy, max(_size(t) for t in trees))
        elif layout == "masked":
            assert int(real.min()) >= 0.8 * int(real.max())


def _used(plant: Planted) -> int:
    """Tokens that some branch needs."""
    paths = plant.tree.paths()
    used = {s for b in plant.branches for end in b.segments for s in paths[end]}
    return sum(len(plant.tree.segments[s].ids) for s in used)


def _size(tree: Encoded) -> int:
    return sum(len(s.ids) for s in tree.segments)


def test_a_tree_is_packed_where_that_is_cheaper_and_only_there() -> None:
    trees = marked(1)
    kinds = {name: {rows.sees is not None for rows in lay_out(planted(trees), "masked", cost)}
             for name, cost in (("free", FREE), ("dear", DEAR))}  # fmt: skip
    assert True in kinds["free"] and _work(trees, FREE) < _work(trees, None)
    assert kinds["dear"] == {True, False} or kinds["dear"] == {False}


def _work(trees: list[Encoded], cost: Cost | None) -> int:
    rows: Any = lay_out(planted(trees), "masked" if cost else "padded", cost or FREE)
    return sum(r.tokens for r in rows)


def test_padded_is_one_causal_row_per_branch() -> None:
    trees = marked(2)
    (rows,) = lay_out(planted(trees), "padded", FREE)
    assert rows.sees is None and len(rows.ids) == sum(len(t.branches) for t in trees)
    longest = max(len(line) for line in ancestry(trees).values())
    assert rows.ids.shape[1] <= longest


def test_segments_that_no_wanted_branch_needs_are_left_out() -> None:
    tree = marked(3)[0]
    one = Planted(tree, tree.branches[:1], (0,))
    for layout, cost in CASES:
        (rows,) = lay_out([one], layout, cost)
        ids = set(rows.ids[rows.ids > 0].tolist())
        path = max((tree.paths()[s] for s in tree.branches[0].segments), key=len)
        assert ids == {int(i) for s in path for i in tree.segments[s].ids}


def test_a_packed_tree_leaves_them_out_too() -> None:
    tails = (Segment(0, np.arange(9, 12) + 3 * i) for i in range(3))
    segments = (Segment(-1, np.arange(1, 9)), *tails)
    branches = tuple(Branch("full", (i,), 0.0, i, i) for i in (1, 3))
    plant = Planted(Encoded("", segments, branches), branches, (0, 1))
    for layout in ("forest", "masked"):
        (rows,) = lay_out([plant], layout, FREE)
        assert rows.sees is not None and rows.tokens == 8 + 3 + 3


@pytest.mark.parametrize(("layout", "cost"), CASES)
def test_no_tree_is_no_row(layout: Layout, cost: Cost) -> None:
    assert lay_out([], layout, cost) == ()


@pytest.mark.parametrize(("layout", "cost"), CASES)
def test_the_layout_is_the_same_every_time(layout: Layout, cost: Cost) -> None:
    one, two = (lay_out(planted(marked(4)), layout, cost) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert isinstance(a, TokenRows) and torch.equal(a.ids, b.ids)
        assert np.array_equal(a.source, b.source) and np.array_equal(a.owner, b.owner)


def test_room_grows_as_attention_gets_cheaper() -> None:
    assert [Cost(1e6, a).roomy for a in (1e4, 1e3, 1e2)] == [25, 250, 2500]
    assert Cost(0.0, 1.0).roomy == 0 < Cost(1.0, 0.0).roomy
