"""SimPO compares mean log-probs and asks for a margin."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.dpo import DPO
from bvrank.objectives.simpo import SimPO
from tests.objectives.oracles import graded, lists, random_prefs


@pytest.mark.parametrize("tokens", [1, 4])
def test_without_margin_reference_and_lengths_it_is_dpo(tokens: int) -> None:
    prefs = random_prefs(0)
    prefs = replace(prefs, reference=torch.zeros_like(prefs.policy),
                    length=torch.full_like(prefs.length, tokens))  # fmt: skip
    for one, other in zip(graded(SimPO(2.0, gamma=0.0), prefs), graded(DPO(2.0 / tokens), prefs),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_where_the_lead_is_gamma_the_loss_is_ln_2(gamma: float) -> None:
    prefs = replace(lists([1, 0], [-4.0, -3.0 - 1.5 * gamma]), length=torch.tensor([[[4, 3]]]))
    outcome = SimPO(2.0, gamma=gamma)(prefs)
    assert float(outcome.loss) == pytest.approx(math.log(2))
    assert float(outcome.metrics["rewards/margins"]) == pytest.approx(gamma)
    assert float(outcome.metrics["rewards/chosen"]) == -2


def test_the_gradient_of_a_token_does_not_depend_on_the_length_of_the_other_side() -> None:
    """dL/dlog pi_w = -beta sigma(-z) / tokens."""
    prefs = replace(lists([1, 0], [-2.0, -6.0]), length=torch.tensor([[[2, 4]]]))
    _, gradient = graded(SimPO(2.0, gamma=1.0), prefs)
    z = 2 * (-1.0 + 1.5) - 1
    pull = 2 / (1 + math.exp(z))
    assert gradient.flatten().tolist() == pytest.approx([-pull / 2, pull / 4])


def test_gamma_is_not_negative() -> None:
    with pytest.raises(ConfigError) as caught:
        SimPO(gamma=-0.1)
    assert caught.value.where == "gamma"
