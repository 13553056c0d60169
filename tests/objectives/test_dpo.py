"""DPO on pairs and lists."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.dpo import DPO
from tests.objectives.oracles import (
    checked,
    dpo,
    each,
    graded,
    lists,
    padded,
    pick,
    random_prefs,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pairs", ["best_worst", "whole_list"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_the_loops(pairs: Any, smoothing: float, seed: int) -> None:
    prefs, objective = random_prefs(seed), DPO(0.7, label_smoothing=smoothing, pairs=pairs)
    expected = each(prefs, lambda items: dpo(items, 0.7, smoothing, pairs))
    torch.testing.assert_close(objective(prefs).loss, expected, rtol=1e-12, atol=1e-12)
    assert checked(objective, prefs)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_in_closed_form(smoothing: float) -> None:
    """dL/ds_w = -(1-e) sigma(-D) + e sigma(D), and its negative for the loser."""
    prefs = lists([1, 0], [2.0, 0.7])
    _, gradient = graded(DPO(0.5, label_smoothing=smoothing), prefs)
    gap = 0.5 * 1.3
    sigma = 1 / (1 + math.exp(-gap))
    expected = 0.5 * (-(1 - smoothing) * (1 - sigma) + smoothing * sigma)
    assert gradient.flatten().tolist() == pytest.approx([expected, -expected], abs=1e-15)


@pytest.mark.parametrize("pairs", ["best_worst", "random", "whole_list"])
def test_where_policy_is_reference_the_loss_is_ln_2(pairs: Any) -> None:
    prefs = random_prefs(0)
    same = replace(prefs, policy=prefs.reference)
    outcome = DPO(pairs=pairs, label_smoothing=0.3)(same)
    torch.testing.assert_close(outcome.loss, math.log(2) * outcome.count, rtol=0, atol=1e-15)
    assert 0 < float(outcome.count.sum()) < outcome.count.numel()


@pytest.mark.parametrize("seed", range(3))
def test_order_and_padding_do_not_matter(seed: int) -> None:
    prefs, objective = random_prefs(seed), DPO(pairs="whole_list")
    loss, gradient = graded(objective, prefs)
    turn = torch.tensor([3, 0, 4, 1, 2])
    turned = graded(objective, pick(prefs, turn))
    torch.testing.assert_close(turned, (loss, gradient[..., turn]), rtol=1e-12, atol=1e-12)
    for pairs in ("best_worst", "random", "whole_list"):
        plain = graded(DPO(pairs=pairs), prefs)
        wide = graded(DPO(pairs=pairs), padded(prefs, 3, 7.0))
        torch.testing.assert_close(wide[0], plain[0], rtol=0, atol=1e-15)
        torch.testing.assert_close(wide[1][..., :5], plain[1], rtol=0, atol=1e-15)
        assert not bool(wide[1][..., 5:].any())


@pytest.mark.parametrize("gap", [-1e4, 1e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_huge_margins_stay_finite(gap: float, smoothing: float) -> None:
    loss, gradient = graded(DPO(1.0, label_smoothing=smoothing), lists([1, 0], [gap, 0.0]))
    right = (1 - smoothing) if gap < 0 else smoothing
    assert float(loss) == pytest.approx(1e4 * right)
    assert gradient.flatten().tolist() == pytest.approx(
        [-right, right] if gap < 0 else [right, -right]
    )


def test_a_row_without_a_pair_counts_nothing() -> None:
    for prefs in (lists([1, 1, 1], [1.0, 2.0, 3.0]), lists([1], [4.0])):
        loss, gradient = graded(DPO(), prefs)
        assert float(loss) == 0 == float(DPO()(prefs).count) and not bool(gradient.any())


def test_the_count_does_not_depend_on_the_policy() -> None:
    prefs = random_prefs(2)
    for pairs in ("best_worst", "random", "whole_list"):
        counts = [DPO(pairs=pairs)(replace(prefs, policy=p)).count
                  for p in (prefs.policy, torch.randn_like(prefs.policy) * 100)]  # fmt: skip
        assert torch.equal(*counts)


def test_random_is_one_pair_and_their_mean_is_the_whole_list() -> None:
    prefs = lists([2, 1, 0, 1], [0.3, -1.0, 0.8, 0.1])
    draws = [replace(prefs, draw=torch.full_like(prefs.draw, (i + 0.5) / 5)) for i in range(5)]
    losses = [float(DPO(pairs="random")(p).loss) for p in draws]
    assert len({round(x, 12) for x in losses}) == 5
    assert sum(losses) / 5 == pytest.approx(float(DPO(pairs="whole_list")(prefs).loss))


def test_it_asks_for_its_view_and_the_reference() -> None:
    assert (DPO().views, DPO(view="bare").views) == (("full",), ("bare",))
    assert DPO().candidates == 2 and DPO().needs_reference


def test_metrics_are_detached() -> None:
    prefs = random_prefs(0)
    outcome = DPO()(replace(prefs, policy=prefs.policy.requires_grad_()))
    assert outcome.metrics and not any(m.requires_grad for m in outcome.metrics.values())


@pytest.mark.parametrize(("field", "value"), [
    ("beta", 0.0), ("beta", -1.0), ("beta", math.inf), ("label_smoothing", 0.6),
    ("label_smoothing", -0.1), ("view", "both"), ("pairs", "all"),
])  # fmt: skip
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        DPO(**{field: value})
    assert caught.value.where == field
