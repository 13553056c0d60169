"""Micro-batches are a cut of the step, and carry what belongs to each row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bvrank.data.batches import Ahead, Stream
from bvrank.data.loader import Order, streams_of
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.records import TokenBatch
from bvrank.scoring.collate import Collator, Size
from bvrank.scoring.layout import Cost
from tests.scoring.trees import marked

TREES = marked(0, 7)
VIEWS = ("full", "bare")
REFERENCE = [-np.arange(1, len(t.branches) + 1) - 10.0 * i for i, t in enumerate(TREES)]


def stream(micro: int, batch: int = 6, *, independent: bool = False,
           reference: list[np.ndarray] | None = REFERENCE) -> Stream:  # fmt: skip
    order = Order(streams_of(TREES, VIEWS, independent=independent), 1, batch)
    return Stream(TREES, reference, order, Collator("forest", Cost(1.0, 0.0)), micro)


@pytest.mark.parametrize("micro", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("independent", [False, True])
def test_micro_batches_hold_the_same_examples_in_the_same_order(
    micro: int, independent: bool
) -> None:
    (whole,) = stream(6, independent=independent).step(3, VIEWS)
    parts = list(stream(micro, independent=independent).step(3, VIEWS))
    assert [len(p.where) for p in parts][:-1] == [micro] * (len(parts) - 1)
    assert sum((p.where for p in parts), ()) == whole.where
    for name, value in vars(whole.labels).items():
        flat = [v[v_mask] for v, v_mask in ((getattr(p.labels, name)[:, b], p.labels.valid[:, b])
                for p in parts for b in range(len(p.where)))]  # fmt: skip
        expected = [value[:, b][whole.labels.valid[:, b]] for b in range(len(whole.where))]
        assert torch.equal(torch.cat(flat), torch.cat(expected)), name


def test_the_reference_is_that_of_the_row() -> None:
    for batch in stream(2).step(1, VIEWS):
        for b, where in enumerate(batch.where):
            number = int(where.removeprefix("tree "))
            mine = batch.labels.reference[:, b][batch.labels.valid[:, b]].tolist()
            assert sorted(mine) == sorted(REFERENCE[number].tolist())


def test_without_a_reference_there_are_zeros() -> None:
    (batch,) = stream(6, reference=None).step(1, VIEWS)
    assert not bool(batch.labels.reference.any()) and bool(batch.labels.draw.any())


def test_once_is_every_row_in_file_order() -> None:
    batches = list(stream(3).once(VIEWS))
    assert sum((b.where for b in batches), ()) == tuple(t.where for t in TREES)
    some = list(stream(3).once(VIEWS, limit=4))
    assert sum((b.where for b in some), ()) == tuple(t.where for t in TREES[:4])


def test_held_out_draws_are_the_same_each_time_and_differ_between_rows() -> None:
    one, two = (torch.cat([b.labels.draw[0, :, 0] for b in stream(7).once(VIEWS)]) for _ in "ab")
    other = torch.cat([b.labels.draw[0, :, 0] for b in stream(2).once(VIEWS)])
    assert torch.equal(one, two) and torch.equal(one, other) and len(one.unique()) == len(one)


def test_only_the_wanted_views_are_scored() -> None:
    (both,), (full,) = (stream(6).step(1, v) for v in (VIEWS, ("full",)))
    assert full.labels.valid.shape[0] == 1 and full.tokens < both.tokens


def counted(batches: list[TokenBatch]) -> list[str]:
    return sorted(w for b in batches for w in b.where)


@pytest.mark.parametrize("layout", ["forest", "masked", "padded"])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 30, 60, 10_000])
def test_a_budget_cuts_the_same_examples(budget: int, world: int, layout: Any) -> None:
    plain = replace(stream(6), collate=Collator(layout, Cost(1.0, 0.0)))
    (whole,) = plain.step(3, VIEWS)
    ranks = [
        list(replace(plain, budget=budget, rank=r, world=world).step(3, VIEWS))
        for r in range(world)
    ]
    assert counted([b for own in ranks for b in own]) == sorted(whole.where)
    assert len({len(own) for own in ranks}) == 1  # as many forwards on every rank
    for batch in (b for own in ranks for b in own):
        size = sum(r.ids.numel() if layout == "padded" else r.tokens for r in batch.rows)
        assert size <= budget or len(batch.where) <= 1
        assert bool(batch.labels.valid.any()) == bool(batch.where)
    if budget == 10_000:
        assert len(ranks[0]) == 1


@pytest.mark.parametrize("layout", ["forest", "padded"])
def test_tokens_are_what_the_layout_puts_through_the_model(layout: Any) -> None:
    collate = Collator(layout, Cost(1.0, 0.0))
    given = replace(stream(6), collate=collate)
    examples = [[given.row(i)] for i in range(len(TREES))]
    for views in (VIEWS, VIEWS[:1], VIEWS[1:]):
        batch = collate(examples, views)
        size = sum((collate.size(e, views) for e in examples), Size())
        assert collate.tokens(size) == sum(r.ids.numel() for r in batch.rows)
    assert collate.tokens(collate.size(examples[0], ("elsewhere",))) == 0


@pytest.mark.parametrize("micro", [1, 3])
def test_ranks_share_a_step_by_tokens(micro: int) -> None:
    (whole,) = stream(6).step(2, VIEWS)
    ranks = [list(replace(stream(micro), rank=r, world=2).step(2, VIEWS)) for r in range(2)]
    assert counted([b for own in ranks for b in own]) == sorted(whole.where)
    assert [len(own) for own in ranks] == [3 // micro] * 2
    load = [sum(b.tokens for b in own) for own in ranks]
    assert max(load) - min(load) <= max(sum(len(s.ids) for s in t.segments) for t in TREES)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
@pytest.mark.parametrize("world", [1, 2])
def test_once_within_a_budget_is_every_row_once(budget: int, world: int) -> None:
    ranks = [
        list(replace(stream(3), budget=budget, rank=r, world=world).once(VIEWS))
        for r in range(world)
    ]
    assert counted([b for own in ranks for b in own]) == sorted(t.where for t in TREES)
    assert len({len(own) for own in ranks}) == 1
    assert all(b.tokens <= budget or len(b.where) <= 1 for own in ranks for b in own)


@pytest.mark.parametrize("loss", [DPO(sft_weight=0.5), BVPO()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("layout", ["forest", "padded"])
def test_the_pair_alone_gives_what_the_whole_rows_give(loss: Any, layout: Any) -> None:
    """Graded and level candidates; a candidate's log-prob is its first token id's."""
    rng = np.random.default_rng(3)
    trees = [replace(t, branches=tuple(replace(b, relevance=float(rng.integers(3)))
             for b in t.branches)) for t in marked(4, 40)]  # fmt: skip
    order = Order((np.arange(40),), 1, 40)
    values = [rng.normal(size=len(t.branches)) for t in trees]
    whole = Stream(trees, values, order, Collator(layout, Cost(1.0, 0.0)), 40)
    found = []
    for batches in (whole, replace(whole, one_pair=True)):
        (batch,) = batches.step(1, loss.views)
        policy = torch.zeros_like(batch.labels.reference)
        for rows in batch.rows:
            policy.view(-1)[rows.owner] = rows.target.double().sin()
        found.append((loss(replace(batch.labels, policy=policy)), batch))
    (one, every), (other, pairs) = found
    assert float(one.count.sum()) > 0 and torch.equal(one.count, other.count)
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-12, atol=0)
    for name, metric in one.metrics.items():
        torch.testing.assert_close(other.metrics[name], metric, rtol=1e-12, atol=0, equal_nan=True)
    assert pairs.tokens < every.tokens and pairs.labels.valid.sum(-1).max() == 2


def same(one: Iterator[TokenBatch], other: Iterator[TokenBatch]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(
        a.where == b.where and torch.equal(a.rows[0].ids, b.rows[0].ids)
        and torch.equal(a.labels.draw, b.labels.draw) for a, b in pairs
    )  # fmt: skip


def test_what_is_laid_out_ahead_is_what_would_be_laid_out_now() -> None:
    ahead = Ahead(stream(2))
    for number, views in [(1, VIEWS), (2, VIEWS), (3, VIEWS[:1]), (4, VIEWS[:1]), (9, VIEWS),
                          (2, VIEWS)]:  # fmt: skip
        assert same(ahead.step(number, views), stream(2).step(number, views))
    assert same(ahead.once(VIEWS), stream(2).once(VIEWS))


def test_the_next_step_is_laid_out_in_another_thread_and_its_error_raised_here() -> None:
    threads: dict[int, int] = {}

    class Seen(Stream):
        def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
            threads[number] = threading.get_ident()
            if number == 3:
                raise ValueError("row 3 is broken")
            return super().step(number, views)

    ahead = Ahead(Seen(**vars(stream(6))))
    for number in (1, 2):
        list(ahead.step(number, VIEWS))
    with pytest.raises(ValueError, match="row 3 is broken"):
        ahead.step(3, VIEWS)
    assert threads[1] == threading.get_ident() != threads[2] == threads[3]
