"""ListNet is a cross-entropy to the weights of places."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bvrank.objectives.dpo import DPO
from bvrank.objectives.gains import WEIGHTS
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.listnet import ListNet
from tests.objectives.oracles import graded, lists, random_prefs


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("ranks", ["ideal", "shown", "model"])
@pytest.mark.parametrize("ties", ["averaged", "order"])
def test_it_is_irpo_softmax_over_the_sum_of_weights(weight: Any, ranks: Any, ties: Any) -> None:
    prefs = random_prefs(3, rows=12)
    options: dict[str, Any] = {"weight": weight, "ranks": ranks, "ties": ties, "k": 2, "decay": 0.3}
    net, irpo = ListNet(0.7, **options), IRPO(0.7, form="softmax", **options)
    total = net.weights(prefs, net.scores(prefs)).sum(-1)
    (loss, gradient), (whole, slope) = graded(net, prefs), graded(irpo, prefs)
    torch.testing.assert_close(loss * total, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient * total.unsqueeze(-1), slope, rtol=1e-12, atol=1e-12)
    assert torch.equal(net(prefs).count, irpo(prefs).count)


@pytest.mark.parametrize("gap", [-1e4, -25.0, -3.0, 0.0, 0.4, 30.0])
def test_of_two_with_one_relevant_it_is_dpo(gap: float) -> None:
    prefs = lists([0, 1], [0.0, gap])
    for one, other in zip(graded(ListNet(0.5), prefs), graded(DPO(0.5), prefs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_the_model_less_the_target() -> None:
    prefs = lists([2, 0, 1], [0.3, -1.0, 2.0])
    w = torch.tensor([3.0, 0.0, 1 / math.log2(3)], dtype=torch.float64)
    _, gradient = graded(ListNet(1.0), prefs)
    expected = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64).softmax(-1) - w / w.sum()
    torch.testing.assert_close(gradient[0, 0], expected, rtol=1e-12, atol=1e-14)


def test_every_list_weighs_the_same() -> None:
    """The sum of |dL/ds| is at most 2, whatever the gains."""
    for level in (1, 5, 30):
        _, gradient = graded(ListNet(1.0), lists([level, 0, 0], [-40.0, 0.0, 40.0]))
        assert float(gradient.abs().sum()) == pytest.approx(2)


def test_nothing_shown_on_a_place_that_counts_is_a_loss_of_nothing() -> None:
    """p_at_k by shown places, the one relevant item below k: no target, no pull, yet it counts."""
    objective, prefs = ListNet(weight="p_at_k", k=1, ranks="shown"), lists([0, 1], [0.0, 2.0])
    loss, gradient = graded(objective, prefs)
    assert float(loss) == 0 and not bool(gradient.any())
    assert float(objective(prefs).count) == 1 == float(replace(objective, k=2)(prefs).count)
