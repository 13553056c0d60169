"""Blocks cover what the mask lets see, each pair once, and no query is read before its first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bvrank.records import Block, TokenRows
from bvrank.scoring.blocks import blocks, forest
from bvrank.scoring.layout import Cost, Planted, lay_out
from bvrank.scoring.scorer import visible
from tests.scoring.trees import marked, mixed

CALLS = (0.0, 3.0, 40.0, 1e9)


def row_of(seed: int, call: float, kind: str = "marked") -> TokenRows:
    trees = marked(seed) if kind == "marked" else mixed(seed)
    owners = iter(range(10**6))
    plants = [Planted(t, t.branches, tuple(next(owners) for _ in t.branches)) for t in trees]
    (rows,) = lay_out(plants, "forest", Cost(1.0, 1.0, call))
    return rows


def pairs(block: Block, seen: torch.Tensor) -> torch.Tensor:
    """What the block computes, as bool [T,T]."""
    inside = torch.zeros_like(seen)
    inside[slice(*block.queries), slice(*block.keys)] = True
    if block.kind == "causal":
        return inside.tril()
    return inside & seen if block.kind == "tree" else inside


@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seed", range(6))
def test_every_visible_pair_is_in_one_block_and_no_other_is(
    seed: int, call: float, kind: str
) -> None:
    rows = row_of(seed, call, kind)
    seen = visible(rows)[0]
    count = torch.stack([pairs(b, seen) for b in rows.blocks]).sum(0)
    assert torch.equal(count, seen.long())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seed", range(6))
def test_the_first_block_of_a_query_says_so_and_no_other_does(seed: int, call: float) -> None:
    rows = row_of(seed, call)
    begun = np.zeros(rows.ids.shape[1], bool)
    for block in rows.blocks:
        own = begun[slice(*block.queries)]
        assert not own.any() if block.first else own.all()
        own[:] = True
    assert begun.all()


@pytest.mark.parametrize("seed", range(6))
def test_dearer_calls_are_fewer_and_end_as_one_mask(seed: int) -> None:
    found = [len(row_of(seed, call).blocks) for call in (0.0, 3.0, 10.0, 40.0, 300.0, 1e9)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1] == 1


def work(found: tuple[Block, ...]) -> int:
    """Pairs that a kernel computes."""
    return sum((b.queries[1] - b.queries[0]) * (b.keys[1] - b.keys[0]) for b in found)


def test_a_long_run_goes_in_halves_until_calls_cost_more() -> None:
    run = forest([-1], [1024])
    assert blocks(run, 1e9) == (Block((0, 1024), (0, 1024), "causal", True),)
    fine, coarse = blocks(run, 100.0), blocks(run, 20_000.0)
    assert len(fine) > len(coarse) > 1
    assert 1024 * 1025 / 2 <= work(fine) < work(coarse) < 1024**2


def test_items_on_a_long_prompt_are_one_call_on_it_and_few_masks() -> None:
    parents, stops = [-1] + [0] * 20, [512 + 8 * i for i in range(21)]
    found = blocks(forest(parents, stops), 2000.0)
    assert Block((512, 672), (0, 512), "full", True) in found
    items = [b for b in found if b.queries[0] >= 512 and b.kind == "tree"]
    assert 1 < len(items) < 5 and items[0].queries[0] == 512 and items[-1].queries[1] == 672


def test_an_only_child_continues_its_parent() -> None:
    (one,) = forest([-1, 0, 1], [3, 5, 9])
    assert (one.start, one.stop, one.below) == (0, 9, ())
    (root,) = forest([-1, 0, 1, 1], [3, 5, 6, 9])
    assert (root.start, root.stop, root.end) == (0, 5, 9)
    assert [(n.start, n.stop) for n in root.below] == [(5, 6), (6, 9)]
