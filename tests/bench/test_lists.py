"""What the arms of the list suite compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bvrank.bench import lists
from bvrank.bench.lists import ARMS, Cell, arms
from bvrank.bench.material import model
from bvrank.errors import ModelError
from tests.bench.shape import SHAPE

CELL = Cell(items=5, prompt=11, item_tokens=3)


def gradient(policy: Any, step: Any) -> torch.Tensor:
    step()
    return torch.cat([p.grad.flatten() for p in policy.parameters()])


@pytest.mark.parametrize("budget", [8192, 30, 1])
def test_forest_rows_and_dense_have_one_gradient_and_causal_does_as_much_work(budget: int) -> None:
    policy = model(SHAPE, 0)
    made = arms(CELL, policy, 0, budget)
    assert tuple(made) == ARMS
    found = {name: gradient(policy, step) for name, step in made.items()}
    for name in ("rows", "dense"):
        torch.testing.assert_close(found[name], found["forest"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["causal"], found["forest"])
    assert (CELL.unique, CELL.repeated) == (26, 70)


def test_an_arm_that_scores_something_else_stops_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    real = lists._dense
    monkeypatch.setattr(lists, "_dense", lambda policy, batch: real(policy, batch) + 0.1)
    with pytest.raises(ModelError, match=r"dense and rows differ by 0\.1 nats"):
        arms(CELL, model(SHAPE, 0), 0)


def test_tokens_are_drawn_by_the_seed() -> None:
    trees = [CELL.tree(61, seed) for seed in (0, 0, 1)]
    ids = [[s.ids.tolist() for s in t.segments] for t in trees]
    assert ids[0] == ids[1] != ids[2]
