"""The masked kernels against loops, and at the edges of float64."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives import kernels
from tests.objectives.oracles import lists, random_prefs, seen


@pytest.mark.parametrize("seed", range(5))
def test_masked_softmax_and_leave_one_out_are_the_loops(seed: int) -> None:
    prefs = random_prefs(seed)
    s = prefs.policy - prefs.reference
    log_p = kernels.log_softmax(s, prefs.valid)
    others = kernels.logsumexp_of_others(s, prefs.valid)
    for b in range(prefs.valid.shape[1]):
        items = seen(prefs, 0, b)
        for i in items:
            whole = math.log(sum(math.exp(j.ratio) for j in items))
            assert float(log_p[0, b, i.place]) == pytest.approx(i.ratio - whole, abs=1e-12)
            if rivals := [math.exp(j.ratio) for j in items if j is not i]:
                expected = math.log(sum(rivals))
                assert float(others[0, b, i.place]) == pytest.approx(expected, abs=1e-12)
    assert bool((log_p[~prefs.valid] == kernels.LOG_ZERO).all())


def test_leave_one_out_keeps_its_digits_beside_a_giant() -> None:
    """By subtraction, log(exp(700) + 2 - exp(700)) would be lost."""
    s = torch.tensor([700.0, 0.0, 0.0], dtype=torch.float64)
    others = kernels.logsumexp_of_others(s, s > -1)
    assert others.tolist() == pytest.approx([math.log(2), 700, 700], abs=1e-12)


@pytest.mark.parametrize("function", [kernels.log_softmax, kernels.logsumexp_of_others])
def test_masked_kernels_pass_gradcheck(function: object) -> None:
    prefs = random_prefs(3, least=2)
    s = (prefs.policy - prefs.reference).requires_grad_()

    def value(x: torch.Tensor) -> torch.Tensor:
        return torch.where(prefs.valid, function(x, prefs.valid), 0.0)  # type: ignore[operator]

    assert torch.autograd.gradcheck(value, (s,))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pairs", ["best_worst", "random", "whole_list"])
def test_pair_weights_sum_to_one_over_better_over_worse(pairs: str, seed: int) -> None:
    prefs = random_prefs(seed)
    w = kernels.pair_weights(prefs, pairs)  # type: ignore[arg-type]
    for b in range(prefs.valid.shape[1]):
        items = seen(prefs, 0, b)
        right = {(i.place, j.place) for i in items for j in items if i.relevance > j.relevance}
        taken = {tuple(at) for at in w[0, b].nonzero().tolist()}
        assert taken <= right and bool(taken) == bool(right)
        assert float(w[0, b].sum()) == pytest.approx(float(bool(right)))
        if pairs == "whole_list":
            assert taken == right and len(set(w[0, b][w[0, b] > 0].tolist())) <= 1


def test_best_worst_takes_the_first_best_and_the_last_worst() -> None:
    w = kernels.pair_weights(lists([1, 2, 0, 2, 0, 1]), "best_worst")
    assert w[0, 0].nonzero().tolist() == [[1, 4]]


def test_random_pairs_are_drawn_equally_often_by_the_draw_alone() -> None:
    """Every pair owns an interval of the draw, all of one length: exact, not by chance."""
    prefs = lists([2, 1, 0, 1])  # 5 ordered pairs
    hits: Counter[tuple[int, ...]] = Counter()
    for step in range(1000):
        draw = torch.full_like(prefs.draw, (step + 0.5) / 1000)
        weights = kernels.pair_weights(replace(prefs, draw=draw), "random")[0, 0]
        hits[tuple(weights.nonzero()[0].tolist())] += 1
        other = replace(prefs, draw=draw, policy=prefs.policy + step, rank=prefs.rank.flip(-1))
        assert torch.equal(kernels.pair_weights(other, "random")[0, 0], weights)
    assert dict(hits) == {p: 200 for p in [(0, 1), (0, 2), (0, 3), (1, 2), (3, 2)]}


@pytest.mark.parametrize("draw", [0.0, math.nextafter(1.0, 0.0)])
def test_the_ends_of_the_unit_interval_still_draw(draw: float) -> None:
    prefs = lists([2, 1, 0, 1])
    end = torch.full_like(prefs.draw, draw)
    assert float(kernels.pair_weights(replace(prefs, draw=end), "random").sum()) == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 0.5])
def test_logistic(smoothing: float) -> None:
    gap = torch.tensor([0.0, 1.5, -1e4, 1e4], dtype=torch.float64)
    loss = kernels.logistic(gap, smoothing)
    assert float(loss[0]) == pytest.approx(math.log(2), abs=1e-15)
    sigma = 1 / (1 + math.exp(-1.5))
    expected = -(1 - smoothing) * math.log(sigma) - smoothing * math.log(1 - sigma)
    assert float(loss[1]) == pytest.approx(expected)
    assert loss[2:].tolist() == pytest.approx([1e4 * (1 - smoothing), 1e4 * smoothing])


def test_log_ratio_is_zero_on_padding_whatever_lies_there() -> None:
    prefs = random_prefs(1)
    bad = torch.where(prefs.valid, prefs.policy, torch.nan)
    ratio = kernels.log_ratio(replace(prefs, policy=bad))
    per_token = kernels.log_ratio(replace(prefs, policy=bad), per_token=True)
    assert bool((ratio[~prefs.valid] == 0).all()) and bool(torch.isfinite(ratio).all())
    assert torch.equal(per_token * prefs.length, ratio)


def test_metrics_tell_chosen_from_rejected() -> None:
    prefs = replace(lists([1, 0], [-2.0, -5.0]), reference=torch.tensor([[[-4.0, -4.0]]]).double())
    scores = 0.5 * kernels.log_ratio(prefs)
    metrics = kernels.pair_metrics(prefs, scores, kernels.pair_weights(prefs, "best_worst"))
    assert {name: float(value) for name, value in metrics.items()} == {
        "rewards/chosen": 1.0, "rewards/rejected": -0.5, "rewards/margins": 1.5,
        "rewards/accuracies": 1.0, "logps/chosen": -2.0, "logps/rejected": -5.0,
        "displacement/chosen": 2.0, "displacement/rejected": -1.0,
    }  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_in_range_accepts(value: float) -> None:
    kernels.in_range("alpha", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [-1e-9, 1.1, math.nan, math.inf, -math.inf])
def test_in_range_names_the_field(value: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\], got") as caught:
        kernels.in_range("alpha", value, 0.0, 1.0)
    assert caught.value.where == "alpha"
    with pytest.raises(ConfigError, match=r"\(0, inf\)"):
        kernels.in_range("beta", 0.0, 0.0, open_low=True)
    with pytest.raises(ConfigError):
        kernels.in_range("beta", math.inf, 0.0)


def test_choices_are_those_of_the_annotation() -> None:
    @dataclass(frozen=True)
    class Chosen:
        how: Literal["left", "right"] = "left"
        share: float = 0.5

    Chosen.__annotations__ = {"how": Literal["left", "right"], "share": float}
    kernels.check_choices(Chosen("right"))
    with pytest.raises(ConfigError, match="must be one of left, right, got 'rihgt'") as caught:
        kernels.check_choices(Chosen("rihgt"))  # type: ignore[arg-type]
    assert caught.value.where == "how" and caught.value.repair == "Did you mean 'right'?"
