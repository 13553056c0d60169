"""Attention by levels is attention under the mask, gradients included: here with a plain kernel in
place of the accelerator's, in test_cuda.py with its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.records import Level, TokenRows
from bvrank.scoring import varlen
from bvrank.scoring.layout import Cost, Planted, lay_out
from bvrank.scoring.scorer import Scorer, visible
from tests.scoring.test_attention import in_blocks, under_mask, with_gradients, world
from tests.scoring.test_blocks import row_of
from tests.scoring.trees import marked, mixed
from tests.small import model


def levels_of(seed: int, kind: str) -> TokenRows:
    trees = marked(seed) if kind == "marked" else mixed(seed)
    owners = iter(range(10**6))
    plants = [Planted(t, t.branches, tuple(next(owners) for _ in t.branches)) for t in trees]
    (rows,) = lay_out(plants, "levels", Cost())
    return rows


class Plain:
    """A kernel over runs in plain torch, with the two signatures of flash attention's."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, q_ends: Tensor, k_ends: Tensor,
                most_q: int, most_k: int, dropout: float, causal: bool, debug: bool, *,
                scale: float) -> tuple[Tensor, ...]:  # fmt: skip
        out, total = torch.empty_like(query), query.new_empty(query.shape[1], len(query))
        for q, k in runs(q_ends, k_ends, most_q, most_k):
            scores, many = self.scores(query[q], key[k], causal, scale)
            total[:, q] = scores.logsumexp(-1)
            out[q] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), grouped(value[k], many))
        return out, total, total.new_zeros(2), total.new_zeros(0), total.new_zeros(0)

    def backward(self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor,
                 total: Tensor, q_ends: Tensor, k_ends: Tensor, most_q: int, most_k: int,
                 dropout: float, causal: bool, state: Tensor, unused: Tensor, *, scale: float
                 ) -> tuple[Tensor, ...]:  # fmt: skip
        assert total.is_contiguous() and state.shape == (2,) and unused.shape == (0,)
        of_query, of_key, of_value = (torch.zeros_like(t) for t in (query, key, value))
        for q, k in runs(q_ends, k_ends, most_q, most_k):
            scores, many = self.scores(query[q], key[k], causal, scale)
            p = (scores - total[:, q, None]).exp()
            through = torch.einsum("qhd,khd->hqk", grad[q], grouped(value[k], many))
            minus = (grad[q] * out[q]).sum(-1).T[..., None]
            of_scores = p * (through - minus) * scale
            of_query[q] = torch.einsum("hqk,khd->qhd", of_scores, grouped(key[k], many))
            of_key[k] = ungrouped(torch.einsum("hqk,qhd->khd", of_scores, query[q]), many)
            of_value[k] = ungrouped(torch.einsum("hqk,qhd->khd", p, grad[q]), many)
        return of_query, of_key, of_value

    def scores(self, query: Tensor, key: Tensor, causal: bool, scale: float
               ) -> tuple[Tensor, int]:  # fmt: skip
        many = query.shape[1] // key.shape[1]
        found = torch.einsum("qhd,khd->hqk", query, grouped(key, many)) * scale
        if causal:
            late = torch.ones(found.shape[1:], dtype=torch.bool).triu(1)
            found = found.masked_fill(late, -torch.inf)
        return found, many


def runs(q_ends: Tensor, k_ends: Tensor, most_q: int, most_k: int) -> list[tuple[slice, slice]]:
    assert q_ends.dtype == k_ends.dtype == torch.int32
    assert (most_q, most_k) == (int(q_ends.diff().max()), int(k_ends.diff().max()))
    bounds = [zip(e[:-1].tolist(), e[1:].tolist(), strict=True) for e in (q_ends, k_ends)]
    return [(slice(*q), slice(*k)) for q, k in zip(*bounds, strict=True)]


def grouped(values: Tensor, many: int) -> Tensor:
    return values.repeat_interleave(many, 1)


def ungrouped(values: Tensor, many: int) -> Tensor:
    return values.unflatten(1, (-1, many)).sum(2)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Plain()
    monkeypatch.setattr(varlen, "_forward", kernel.forward)
    monkeypatch.setattr(varlen, "_backward", kernel.backward)


@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("seed", range(6))
def test_every_visible_pair_is_in_one_level_and_no_other_is(seed: int, kind: str) -> None:
    rows = levels_of(seed, kind)
    seen = visible(rows)[0]
    count = torch.zeros_like(seen, dtype=torch.long)
    for level in rows.levels:
        for q, k in runs(level.query_ends, level.key_ends, level.most_queries, level.most_keys):
            pairs = torch.ones(q.stop - q.start, k.stop - k.start, dtype=torch.long)
            at = level.queries[q][:, None], level.keys[k][None]
            count[at] += pairs.tril() if level.causal else pairs
    assert torch.equal(count, seen.long())


def test_the_first_level_is_all_tokens_in_order_and_calls_follow_depth_not_trees() -> None:
    one, many = levels_of(0, "marked"), levels_of(1, "mixed")
    for rows in (one, many):
        assert torch.equal(rows.levels[0].queries, torch.arange(rows.ids.shape[1]))
        assert [level.causal for level in rows.levels] == [True, *[False] * (len(rows.levels) - 1)]
    assert len(many.levels) <= 4


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_levels_are_the_mask_in_fp64(seed: int, kind: str) -> None:
    rows = levels_of(seed, kind)
    *inputs, weight = world(rows, torch.float64)
    found = with_gradients(in_blocks(rows, inputs, None), inputs, weight)
    truth = with_gradients(under_mask(rows, inputs, None), inputs, weight)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("plain")
def test_a_model_scores_by_levels_what_it_scores_in_blocks() -> None:
    scorer = Scorer(model(torch.float64))
    found = []
    for rows in (levels_of(2, "mixed"), row_of(2, 3.0, "mixed")):
        values = scorer.tokens(rows)
        gradients = torch.autograd.grad(values.sum(), list(scorer.parameters()))
        found.append((values, *gradients))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_levels_move_with_the_batch() -> None:
    from dataclasses import replace

    from bvrank.scoring.collate import Collator, Row

    batch = Collator("levels")([[Row(t)] for t in mixed(0)], ("full", "bare"))
    moved: Any = replace(batch)._each("to", torch.device("meta"))
    level = moved.rows[0].levels[1]
    assert isinstance(level, Level) and level.causal is False
    assert {level.queries.device.type, level.key_ends.device.type} == {"meta"}
