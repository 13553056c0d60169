"""Labels stand where their branch is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost, Layout
from tests.scoring.trees import marked

VIEWS = ("full", "bare")
FREE = Cost(1.0, 0.0)


def row(number: int, tree: object) -> Row:
    count = len(tree.branches)  # type: ignore[attr-defined]
    rng = np.random.default_rng(number)
    return Row(tree, -rng.random(count) - 1, rng.random(count))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["forest", "padded"])
@pytest.mark.parametrize("seed", range(4))
def test_labels_are_the_branches_in_order(layout: Layout, seed: int) -> None:
    rows = [row(i, t) for i, t in enumerate(marked(seed))]
    labels = Collator(layout, FREE)([[r] for r in rows], VIEWS).labels
    for b, r in enumerate(rows):
        for v, view in enumerate(VIEWS):
            mine = [i for i, x in enumerate(r.tree.branches) if x.view == view]
            there = torch.arange(labels.valid.shape[2]) < len(mine)
            assert torch.equal(labels.valid[v, b], there)
            for k, i in enumerate(mine):
                branch, at = r.tree.branches[i], (v, b, k)
                assert r.reference is not None and r.draw is not None
                assert float(labels.reference[at]) == r.reference[i]
                assert float(labels.draw[at]) == r.draw[i]
                assert float(labels.relevance[at]) == branch.relevance
                assert int(labels.rank[at]) == branch.rank
                assert int(labels.answer[at]) == branch.answer
                scored = sum(len(r.tree.segments[s].ids) for s in branch.segments)
                assert int(labels.length[at]) == scored


@pytest.mark.parametrize("layout", ["forest", "padded"])
@pytest.mark.parametrize("seed", range(4))
def test_a_candidate_owns_as_many_tokens_as_its_length(layout: Layout, seed: int) -> None:
    batch = Collator(layout, FREE)([[row(0, t)] for t in marked(seed)], VIEWS)
    owned = torch.zeros(batch.labels.length.numel(), dtype=torch.int64)
    for rows in batch.rows:
        owned += torch.bincount(rows.owner, minlength=len(owned))
    assert torch.equal(owned.view_as(batch.labels.length), batch.labels.length)


def test_padding_is_zero_everywhere() -> None:
    labels = Collator("forest", FREE)([[row(0, t)] for t in marked(0)], VIEWS).labels
    assert not bool(labels.valid.all())
    for value in vars(labels).values():
        assert not bool(value[~labels.valid].any())


def test_an_example_of_several_trees_takes_a_view_from_each() -> None:
    full, bare = (row(i, t) for i, t in enumerate(marked(5)[:2]))
    batch = Collator("forest", FREE)([[full, bare]], VIEWS)
    number = sum(len(r.tree.branches) for r in (full, bare))
    assert int(batch.labels.valid.sum()) == number and batch.where == ("tree 0 + tree 1",)


def test_a_row_that_stands_twice_is_scored_for_both() -> None:
    one = row(0, marked(6)[0])
    labels = Collator("forest", FREE)([[one], [one]], VIEWS).labels
    for value in vars(labels).values():
        assert torch.equal(value[:, 0], value[:, 1])


def test_a_view_that_no_row_has_is_empty() -> None:
    tree = marked(0)[0]
    batch = Collator("forest", FREE)([[Row(tree)]], ("elsewhere",))
    assert batch.rows == () and batch.tokens == 0 and not bool(batch.labels.valid.any())
    assert not bool(batch.labels.reference.any())


def test_views_stand_in_the_order_asked_for() -> None:
    rows = [[row(0, t)] for t in marked(1)]
    one, other = (Collator("forest", FREE)(rows, v).labels for v in (VIEWS, VIEWS[::-1]))
    assert torch.equal(one.reference, other.reference.flip(0))
