"""Projections keep inner products on average, and taking a gradient leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bvrank.engines.sketch import Sketch, trained
from tests.engines.test_deepspeed import BATCHES, engine, train, weights

STAGES = (None, 0, 1, 2)


def vectors(seed: int, *sizes: int) -> list[Tensor]:
    make = torch.Generator().manual_seed(seed)
    return [torch.randn(n, generator=make) for n in sizes]


def test_inner_products_are_kept_on_average() -> None:
    """Mean and spread over 300 seeds are those of the formula."""
    x, y = vectors(0, 700, 33, 1200), vectors(1, 700, 33, 1200)
    x = [a + b for a, b in zip(x, y, strict=True)]  # not orthogonal
    size = 64
    found = torch.stack([Sketch(size, s)(x, x) @ Sketch(size, s)(y, x) for s in range(300)])
    a, b = torch.cat(x).double(), torch.cat(y).double()
    spread = float(((a @ a) * (b @ b) + (a @ b) ** 2) / size) ** 0.5
    assert abs(float(found.mean() - a @ b)) < 4 * spread / 300**0.5
    assert float(found.std()) == pytest.approx(spread, rel=0.15)


def test_what_fits_is_kept_as_it_is() -> None:
    x = vectors(0, 5, 7)
    assert torch.equal(Sketch(12, 0)(x, x), torch.cat(x).double())
    assert torch.equal(Sketch(12, 0)([None, x[1]], x)[:5], torch.zeros(5, dtype=torch.float64))
    assert len(Sketch(11, 0)(x, x)) == 11


def test_a_sketch_is_linear_and_its_seed_decides() -> None:
    x, y = vectors(0, 50, 50), vectors(1, 50, 50)
    sketch = Sketch(16, 3)
    both = sketch([a + 2 * b for a, b in zip(x, y, strict=True)], x)
    torch.testing.assert_close(both, sketch(x, x) + 2 * sketch(y, x), rtol=1e-5, atol=1e-5)
    assert torch.equal(sketch(x, x), Sketch(16, 3)(x, x))
    assert not torch.equal(sketch(x, x), Sketch(16, 4)(x, x))


@pytest.mark.parametrize("stage", STAGES)
def test_they_are_the_gradients_of_backward(stage: int | None) -> None:
    one, slow = engine(stage), engine(None)
    many = Sketch(10**9, 0)
    found = one.gradients(BATCHES[0], lambda p: [p.sum() / 50, (p * p).sum() / 1e4], many)
    for row, loss in zip(found, (lambda p: p.sum() / 50, lambda p: (p * p).sum() / 1e4),
                         strict=True):  # fmt: skip
        slow.backward(loss(slow.score(BATCHES[0])))
        right = torch.cat([p.grad.flatten() for p in trained(slow.module)])  # type: ignore[union-attr]
        torch.testing.assert_close(row, right.double(), rtol=1e-4, atol=1e-6)
        slow.discard()


@pytest.mark.parametrize("stage", STAGES)
def test_between_two_backwards_of_a_step_they_leave_no_trace(stage: int | None) -> None:
    plain, looked = engine(stage), engine(stage)
    train(plain, 2)
    for _ in range(2):
        for batch in BATCHES:
            looked.gradients(BATCHES[1], lambda p: [p.sum()], Sketch(100, 0))
            looked.backward(-looked.score(batch).sum() / 50)
            looked.gradients(BATCHES[0], lambda p: [p.sum()], Sketch(100, 0))
        looked.step(1e-2)
    assert torch.equal(weights(plain), weights(looked))


def test_what_does_not_train_is_no_part() -> None:
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    assert Sketch(100, 0).size(module) == 6 and Sketch(4, 0).size(module) == 4
