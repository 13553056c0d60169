"""The trace summed out: exact where it can be, biased by O(1/S) where it is sampled."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import Marginal
from bvrank.records import Preferences
from tests.objectives.oracles import graded, lists, pick, random_prefs


def traced(relevance: list[float], ratios: list[float], answers: list[int]) -> Preferences:
    return replace(lists(relevance, ratios), answer=torch.tensor([[answers]]))


@pytest.mark.parametrize("pairs", ["best_worst", "random", "whole_list"])
def test_one_trace_per_answer_is_dpo_to_the_bit(pairs: Any) -> None:
    prefs = random_prefs(0, rows=20)  # on a grid: reference + ratio rounds nowhere
    for one, other in zip(graded(Marginal(0.7, pairs=pairs), prefs),
                          graded(DPO(0.7, pairs=pairs), prefs), strict=True):  # fmt: skip
        assert torch.equal(one, other)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_equal_traces_are_one(count: int) -> None:
    alone = lists([1, 0], [0.7, -0.4])
    many = pick(alone, torch.tensor([0] * count + [1] * count))
    one, several = graded(Marginal(0.5), alone), graded(Marginal(0.5), many)
    torch.testing.assert_close(several[0], one[0], rtol=1e-14, atol=0)
    summed = several[1].view(1, 1, 2, count).sum(-1)
    torch.testing.assert_close(summed, one[1], rtol=1e-13, atol=0)


def test_the_gradient_goes_to_traces_by_their_share_of_the_mean() -> None:
    prefs = traced([1, 1, 0], [0.5, -1.5, 0.2], [4, 4, 9])
    _, gradient = graded(Marginal(1.0), prefs)
    share = torch.tensor([0.5, -1.5], dtype=torch.float64).softmax(-1)
    whole = float(gradient[0, 0, :2].sum())
    assert whole == pytest.approx(-float(gradient[0, 0, 2]))
    torch.testing.assert_close(gradient[0, 0, :2], whole * share, rtol=1e-13, atol=0)


def test_an_answer_is_worth_the_mean_of_its_traces() -> None:
    """Relevance 2 and 0 make 1, which neither beats nor loses to another 1."""
    even = traced([2, 0, 1], [0.5, -1.5, 0.2], [0, 0, 1])
    assert float(Marginal()(even).count) == 0
    better = traced([2, 0, 0.5], [0.5, -1.5, 0.2], [0, 0, 1])
    margin = math.log((math.exp(0.5) + math.exp(-1.5)) / 2) - 0.2
    outcome = Marginal(1.0)(better)
    assert float(outcome.metrics["rewards/margins"]) == pytest.approx(margin)
    assert float(outcome.loss) == pytest.approx(math.log(1 + math.exp(-margin)))


def test_answers_are_told_apart_by_their_number_alone() -> None:
    prefs = traced([1, 0, 1, 0], [0.5, -1.0, 0.1, 0.3], [7, 3, 7, 3])
    together = traced([1, 1, 0, 0], [0.5, 0.1, -1.0, 0.3], [0, 0, 1, 1])
    torch.testing.assert_close(Marginal()(prefs).loss, Marginal()(together).loss)


# An enumerable model: three traces of each of two answers, joint probabilities by a softmax.
BETA = 0.8
START = torch.tensor([[0.3, -0.4, 0.1], [0.2, 0.6, -0.5]], dtype=torch.float64)
NOW = START + torch.tensor([[0.9, -0.7, 0.3], [-0.6, 0.8, 0.2]], dtype=torch.float64)


def joint(theta: Tensor) -> Tensor:
    """log pi(r, y) [answers, traces]."""
    return theta.flatten().log_softmax(-1).view_as(theta)


def true_loss(theta: Tensor) -> Tensor:
    ratio = joint(theta).logsumexp(-1) - joint(START).logsumexp(-1)
    return -torch.nn.functional.logsigmoid(BETA * (ratio[0] - ratio[1]))


def mean_over_draws(theta: Tensor, size: int) -> Tensor:
    """E of the objective's loss over `size` traces per answer, drawn from pi_ref(r | y): every way
    of counting them, by its multinomial chance."""
    counts = [c for c in product(range(size + 1), repeat=3) if sum(c) == size]
    draws = [[r for r, n in enumerate(c) for _ in range(n)] for c in counts]
    log_q = joint(START).log_softmax(-1)
    chances = torch.stack([
        torch.stack([math.factorial(size) / math.prod(map(math.factorial, c))
                     * (torch.tensor(c) * log_q[y]).sum().exp() for c in counts])
        for y in range(2)
    ])  # fmt: skip
    both = list(product(range(len(counts)), repeat=2))
    index = torch.tensor([draws[a] + [3 + r for r in draws[b]] for a, b in both])
    shape = (1, *index.shape)
    first = (torch.arange(2 * size) < size).expand(shape)
    whole = torch.zeros(shape, dtype=torch.long)
    prefs = Preferences(
        policy=joint(theta).flatten()[index].view(shape), relevance=first.float(),
        reference=joint(START).flatten()[index].view(shape), rank=whole, length=whole + 1,
        valid=whole == 0, answer=first.long(), draw=whole.double(),
    )  # fmt: skip
    chance = torch.stack([chances[0, a] * chances[1, b] for a, b in both])
    assert float(chance.sum()) == pytest.approx(1)
    return (Marginal(BETA)(prefs).loss[0] * chance).sum()


def test_the_bias_of_loss_and_gradient_falls_like_one_over_the_traces() -> None:
    theta = NOW.clone().requires_grad_()
    exact = true_loss(theta)
    slope = torch.autograd.grad(exact, theta)[0]
    biases, turns = [], []
    for size in (1, 2, 4, 8):
        sampled = mean_over_draws(theta, size)
        biases.append(float((sampled - exact).detach()))
        turns.append(float((torch.autograd.grad(sampled, theta)[0] - slope).norm()))
    for errors in (biases, turns):
        halves = [b / a for a, b in pairwise(errors)]
        assert halves == pytest.approx([0.5, 0.5, 0.5], abs=0.08)
        assert halves[-1] == pytest.approx(0.5, abs=0.05)
        assert abs(errors[0]) > 1e-3


def test_at_the_reference_one_trace_is_enough() -> None:
    """There E[g_t | answers] is the gradient of the marginal loss, for any S."""
    theta = START.clone().requires_grad_()
    slope = torch.autograd.grad(true_loss(theta), theta)[0]
    for size in (1, 3):
        sampled = torch.autograd.grad(mean_over_draws(theta, size), theta)[0]
        torch.testing.assert_close(sampled, slope, rtol=1e-12, atol=1e-14)
