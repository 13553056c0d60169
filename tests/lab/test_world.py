"""The world is a probability: nothing is said but a trace of its length and one answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.lab.scoring import flat
from bvrank.lab.world import Language, drawn_pairs, model
from bvrank.records import BARE, FULL
from tests.lab.small import SHAPE, policy, score, small


def test_traces_and_answers_sum_to_one_under_any_weights() -> None:
    for weights in (small().start, policy(0.5)):
        full, bare = score().answers(weights)
        ones = torch.ones(SHAPE.prompts, dtype=torch.float64)
        assert torch.allclose(full.sum(-1), ones, atol=1e-12)
        assert torch.allclose(bare.sum(-1), ones, atol=1e-12)


def test_every_trace_stands_once_and_a_shared_one_too() -> None:
    language = Language(SHAPE)
    assert len(np.unique(language.traces, axis=0)) == SHAPE.traces == 64
    tree = language.tree(1, np.array([2, 0]), np.array([3, 1]), [language.traces[:5]] * 2)
    assert len(tree.segments) == 1 + 5 * 2 + 5 * 2 + 1 + 2
    full = [b for b in tree.branches if b.view == FULL]
    assert [b.relevance for b in full] == [1.0] * 5 + [0.0] * 5
    assert [b.answer for b in tree.branches if b.view == BARE] == [0, 1]
    tokens = [np.concatenate([tree.segments[s].ids for s in b.segments]).tolist() for b in full]
    assert tokens[1] == [*language.traces[1].tolist(), 2]
    assert tokens[6] == [*language.traces[1].tolist(), 0]


def test_pairs_are_of_different_answers_in_one_order_of_quality() -> None:
    chances = torch.full((200, 4), 0.25, dtype=torch.float64)
    pairs = drawn_pairs(chances, chances, "fresh", 3)
    assert (pairs.full[:, 0] != pairs.full[:, 1]).all()
    orders = {(i, *sorted(p)): tuple(p) for i, p in enumerate(pairs.full)}
    for i, pair in enumerate(pairs.bare):  # where both views drew one pair, they agree on it
        assert orders.get((i, *sorted(pair)), tuple(pair)) == tuple(pair)
    reused = drawn_pairs(chances, chances, "reuse", 3)
    assert (reused.bare == pairs.full).all()
    assert (pairs.bare != pairs.full).any()


def test_a_seed_draws_the_same_weights_in_any_thread() -> None:
    alone = [flat(score().start(seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: flat(score().start(seed)), range(4)))
    assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))
    assert not torch.equal(alone[0], alone[1])


def test_a_larger_spread_is_more_peaked() -> None:
    heads = [model(replace(SHAPE, spread=s), 0).lm_head.weight.std().item() for s in (1.0, 4.0)]
    assert heads[1] == pytest.approx(4 * heads[0])


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [("alphabet", 3, "27 traces"), ("alphabet", 1, "two answers"), ("length", 0, "length"),
     ("length", 6, "4,096 traces"), ("hidden_size", 6, "multiple of 2"), ("spread", 0.0, "spread"),
     ("prompts", 0, "prompts"), ("heads", 0, "heads"), ("layers", 0, "layers")],
)  # fmt: skip
def test_what_cannot_be_enumerated_is_refused(field: str, value: float, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(SHAPE, **{field: value})  # type: ignore[arg-type]
