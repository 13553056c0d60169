"""The lab's scores and gradients are those of the scorer that trains, in its own layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bvrank.lab import scoring
from bvrank.lab.scoring import flat, shaped
from bvrank.lab.world import model
from bvrank.records import FULL
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.scorer import Scorer
from tests.lab.small import SHAPE, measured, policy, score, small


def product() -> Scorer:
    """As a run has it."""
    own = model(SHAPE, 0)
    own.set_attn_implementation("sdpa")
    scorer = Scorer(own)
    scorer.load_state_dict(policy())
    return scorer


def test_candidates_score_as_in_a_packed_forest() -> None:
    trees = score().trees(small().pairs)
    with torch.no_grad():
        packed = product()(Collator("forest")([[Row(t)] for t in trees], ("full", "bare")))
        padded = score()(policy(), small().batch)
    assert torch.allclose(packed, padded, rtol=0, atol=1e-12)
    assert torch.allclose(measured()[0].policy, padded, rtol=0, atol=1e-12)


def test_each_candidate_has_its_own_gradient() -> None:
    found, scorer = measured()[0], product()
    trees = score().trees(small().pairs)
    batch = Collator("forest")([[Row(t)] for t in trees], ("full", "bare"))
    value = scorer(batch)
    for place, own in (((0, 1, 64 + 17), found.full[1, 1, 17]), ((1, 0, 1), found.bare[0, 1])):
        slopes = torch.autograd.grad(value[place], list(scorer.parameters()), retain_graph=True)
        told = torch.cat([s.flatten() for s in slopes])
        assert torch.allclose(told, own, rtol=0, atol=1e-12)


def test_chunks_of_candidates_differ_from_all_at_once_by_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, paused = small(), list[None]()
    whole = score().each(policy(), own.full, FULL)
    monkeypatch.setattr(scoring, "NUMBERS", 50 * (SHAPE.each + 3 * SHAPE.weights))
    monkeypatch.setattr(scoring, "pause", lambda: paused.append(None))
    for a, b in zip(score().each(policy(), own.full, FULL), whole, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-13)
    assert len(paused) == -(-2 * 2 * 64 // 50)


def test_the_number_of_weights_is_that_of_the_model() -> None:
    wide = replace(SHAPE, hidden_size=16, heads=4, layers=3, prompts=5)
    for shape in (SHAPE, wide):
        assert shape.weights == sum(p.numel() for p in Scorer(model(shape, 0)).parameters())


def test_shared_rows_score_the_same_candidates() -> None:
    own = small()
    with torch.no_grad():
        found = score()(policy(), score().shared(own.pairs))  # [1,N*R,2]
        sides = found.view(SHAPE.prompts, SHAPE.traces, 2).transpose(1, 2)
        assert torch.allclose(sides, own.of_traces(score()(policy(), own.batch)), atol=1e-12)
    every, shared = own.batch.tokens, score().shared(own.pairs).tokens
    assert shared < 0.6 * every


def test_tables_hold_the_ids_of_their_candidates() -> None:
    own = small()
    assert own.full.ids.shape[:3] == (SHAPE.prompts, 2, SHAPE.traces)
    traces = torch.from_numpy(score().language.traces)
    assert torch.equal(own.full.target[0, 0, :, :3], traces.long())
    assert (
        own.full.target[1, :, :, 3].unique(dim=1).flatten().tolist() == own.pairs.full[1].tolist()
    )
    assert torch.equal(score().table(own.pairs, FULL).ids, own.full.ids)


def test_weights_are_a_vector_and_back() -> None:
    start = small().start
    again = shaped(flat(start), start)
    assert all(torch.equal(again[name], start[name]) for name in start)
    stack = shaped(torch.stack([flat(start)] * 3), start)
    assert all(stack[name].shape == (3, *start[name].shape) for name in start)
    assert torch.equal(flat(stack, 1)[2], flat(start))
