"""Micro-batches are a cut of the step, and carry what belongs to each row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bvrank.data.batches import Stream
from bvrank.data.loader import Order, streams_of
from bvrank.scoring.collate import Collator
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
