"""IPO aims at a gap of 1/(2 beta) nats per token."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bvrank.objectives.ipo import IPO
from tests.objectives.oracles import graded, lists


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_the_least_loss_lies_at_half_the_inverse_of_beta(beta: float) -> None:
    aim = 1 / (2 * beta)
    for off in (-0.3, 0.0, 0.7):
        loss, gradient = graded(IPO(beta), lists([0, 1], [0.0, aim + off]))
        assert float(loss) == pytest.approx(off**2, abs=1e-12)
        assert gradient.flatten().tolist() == pytest.approx([-2 * off, 2 * off], abs=1e-12)


def test_at_the_reference_the_loss_is_the_square_of_the_aim() -> None:
    assert float(IPO(0.1)(lists([1, 0])).loss) == pytest.approx(25.0)


def test_a_ratio_is_per_token() -> None:
    """Each side's own tokens: 6 nats over 3 against 1 nat over 2 are a gap of 1.5."""
    prefs = replace(lists([1, 0], [6.0, 1.0]), length=torch.tensor([[[3, 2]]]))
    outcome = IPO(0.5)(prefs)
    assert float(outcome.loss) == pytest.approx(0.25)
    assert float(outcome.metrics["rewards/chosen"]) == pytest.approx(0.5 * 2)
    assert float(outcome.metrics["rewards/margins"]) == pytest.approx(0.5 * 1.5)
