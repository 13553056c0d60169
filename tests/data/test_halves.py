"""Traces in two halves, examples in groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bvrank.data.halves import Halves, halved, traced, traces
from bvrank.data.loader import Order
from bvrank.records import Encoded
from bvrank.scoring.collate import Collator, Row
from tests.scoring.trees import pair_tree


def tree(counts: tuple[int, ...], seed: int = 0) -> Encoded:
    """Answers of the view full with so many traces each, the first one better; a bare pair."""
    rng = np.random.default_rng(seed)
    made = pair_tree(rng, prompt=3, answers=[2] * sum(counts))
    answer = np.repeat(np.arange(len(counts)), counts).tolist()
    full = [b for b in made.branches if b.view == "full"]
    own = [replace(b, answer=a, relevance=float(a == 0))
           for b, a in zip(full, answer, strict=True)]  # fmt: skip
    return replace(made, branches=(*own, *(b for b in made.branches if b.view == "bare")))


@pytest.mark.parametrize("counts", [(2, 2), (4, 3), (5, 2)])
def test_halves_share_no_trace_and_are_equally_large(counts: tuple[int, ...]) -> None:
    row = Row(tree(counts), np.arange(40.0), np.arange(40.0))
    one, other = (halved(row, "full", half) for half in (0, 1))
    assert traces(one.tree, "full") == traces(other.tree, "full") == [n // 2 for n in counts]
    assert one.reference is not None and other.reference is not None
    assert not {*one.reference} & {*other.reference}
    for part in (one, other):
        assert part.reference is not None and part.draw is not None
        kept = [row.tree.branches[int(i)] for i in part.reference]
        assert list(part.tree.branches) == kept and list(part.draw) == list(part.reference)


def test_rows_with_two_traces_of_both_answers() -> None:
    rows = [tree((2, 2)), tree((2, 1)), tree((3, 4)), tree((4,)), tree((2, 2, 2))]
    assert traced(rows, "full").tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("budget", [None, 40])
def test_a_group_is_laid_out_view_by_view(budget: int | None) -> None:
    rows = [tree((2, 2), seed) for seed in range(20)]
    order = Order((np.arange(20),), 0, 12)
    halves = Halves(rows, None, order, Collator(), 4, 2, budget, ("full",))
    groups = halves.phase(3)
    assert [len(g) for g in groups] == [3, 3, 3, 3]
    assert groups[0][0][0].tree is halves.phase(3)[0][0][0].tree
    for half in (0, 1):
        found = list(halves.forwards(groups[0], "full", half))
        assert sum(len(b.where) for b in found) == 3
        assert sum(int(b.labels.valid.sum()) for b in found) == 3 * 2
        assert all(b.views == ("full",) for b in found)
        if budget is None:
            assert [len(b.where) for b in found] == [2, 1]
        else:
            assert all(b.tokens <= budget or len(b.where) == 1 for b in found)
