"""The masked kernels against loops, and at the edges of float64."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives import kernels
from bvrank.records import Preferences
from tests.objectives.oracles import Seen, lists, random_prefs, seen


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


def test_best_worst_takes_the_first_best_and_the_first_worst() -> None:
    w = kernels.pair_weights(lists([1, 2, 0, 2, 0, 1]), "best_worst")
    assert w[0, 0].nonzero().tolist() == [[1, 2]]


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
    metrics = kernels.pair_metrics(
        prefs, scores, kernels.pair_weights(prefs, "best_worst"), torch.full((1, 1, 1), 1e-5)
    )
    assert {name: float(value) for name, value in metrics.items()} == {
        "rewards/chosen": 1.0, "rewards/rejected": -0.5, "rewards/margins": 1.5,
        "rewards/accuracies": 1.0, "logps/chosen": -2.0, "logps/rejected": -5.0,
        "displacement/chosen": 2.0, "displacement/rejected": -1.0,
    }  # fmt: skip


def compare(values: torch.Tensor, prefs: Preferences, loop: Callable[[list[Seen], Seen], float],
            padding: float | None = None) -> None:  # fmt: skip
    """`values` [V,B,K] against `loop(list, candidate)`, and against `padding` elsewhere."""
    for v, b in [(v, b) for v in range(values.shape[0]) for b in range(values.shape[1])]:
        items = seen(prefs, v, b)
        for i in items:
            assert float(values[v, b, i.place]) == pytest.approx(loop(items, i), abs=1e-12)
    if padding is not None:
        assert bool((values[~prefs.valid] == padding).all())


@pytest.mark.parametrize("seed", range(3))
def test_masked_logsumexp_is_the_loops(seed: int) -> None:
    prefs = random_prefs(seed, views=2)
    s = torch.where(prefs.valid, prefs.policy - prefs.reference, torch.nan)
    found = kernels.masked_logsumexp(s, prefs.valid).unsqueeze(-1).expand_as(s)
    compare(found, prefs, lambda items, _: math.log(sum(math.exp(j.ratio) for j in items)))
    nothing = kernels.masked_logsumexp(s, torch.zeros_like(prefs.valid))
    assert bool((nothing == kernels.LOG_ZERO).all())


def test_masked_logsumexp_of_nothing_has_no_gradient() -> None:
    s = torch.tensor([3.0, 1e4, -1e4], dtype=torch.float64, requires_grad=True)
    for mask, expected in (([False] * 3, [0, 0, 0]), ([True, False, True], [1, 0, 0])):
        kernels.masked_logsumexp(s, torch.tensor(mask)).backward()
        assert s.grad is not None and s.grad.tolist() == expected
        s.grad = None


@pytest.mark.parametrize("steepness", [0.3, 1.0, 20.0])
def test_soft_ranks_are_the_loops_and_add_up(steepness: float) -> None:
    """The ranks of n candidates sum to n(n+1)/2, however smooth they are."""
    prefs = random_prefs(1, views=2, width=6)
    s = prefs.policy - prefs.reference
    ranks = kernels.soft_ranks(s, prefs.valid, steepness)

    def loop(items: list[Seen], i: Seen) -> float:
        return 1 + sum(1 / (1 + math.exp(steepness * (i.ratio - j.ratio)))
                       for j in items if j is not i)  # fmt: skip

    compare(ranks, prefs, loop)
    n = prefs.valid.sum(-1)
    total = torch.where(prefs.valid, ranks, 0.0).sum(-1)
    torch.testing.assert_close(total, n * (n + 1) / 2, check_dtype=False, rtol=1e-13, atol=0)


def test_steep_soft_ranks_are_the_ranks() -> None:
    s = torch.tensor([0.3, 2.0, -1.0, 0.1], dtype=torch.float64)
    assert kernels.soft_ranks(s, s > -9, 1e4).tolist() == pytest.approx([2, 1, 4, 3])
    tied = torch.zeros(4, dtype=torch.float64)
    assert kernels.soft_ranks(tied, tied > -9, 1e4).tolist() == [2.5] * 4


def test_settled_scores_tie_within_what_fp32_is_sure_of() -> None:
    s = torch.tensor([1.0, 1.0 + 3e-6, 1.0 - 3e-6, 1.0 + 3e-5], dtype=torch.float64)
    tie = torch.tensor([1e-5], dtype=torch.float64)
    a, b, c, d = kernels.settled(s.requires_grad_(), tie).tolist()
    assert a == b == c < d and not kernels.settled(s, tie).requires_grad


def test_what_fp32_is_not_sure_of_grows_with_the_longest_candidate() -> None:
    prefs = random_prefs(0, least=1)
    prefs = replace(prefs, length=torch.where(prefs.valid, prefs.length, 999))
    found = kernels.rounding(prefs, per_token=False)
    for b in range(prefs.valid.shape[1]):
        longest = max(i.length for i in seen(prefs, 0, b))
        assert float(found[0, b, 0]) == pytest.approx(kernels.ROUNDING * longest)
    assert set(kernels.rounding(prefs, per_token=True).flatten().tolist()) == {kernels.ROUNDING}


@pytest.mark.parametrize("seed", range(3))
def test_places_are_a_sort_by_key_then_draw(seed: int) -> None:
    prefs = random_prefs(seed, views=2, rows=10)
    found = kernels.places(prefs.relevance.double(), prefs.draw, prefs.valid)

    def loop(items: list[Seen], i: Seen) -> float:
        return 1 + sorted(items, key=lambda j: (-j.relevance, j.draw)).index(i)

    compare(found.double(), prefs, loop)
    assert torch.equal(found.sort(-1).values, torch.arange(1, 6).expand_as(found))
    size = prefs.valid.sum(-1, keepdim=True)
    assert torch.equal(found > size, ~prefs.valid)  # padding is last


def test_places_of_equal_keys_and_draws_keep_their_order() -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    assert kernels.places(zeros, zeros, zeros == 0).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(3))
def test_shares_of_best_are_the_loops(seed: int) -> None:
    prefs = random_prefs(seed, views=2, levels=2)

    def loop(items: list[Seen], i: Seen) -> float:
        top = max(j.relevance for j in items)
        return (i.relevance == top) / sum(j.relevance == top for j in items)

    shares = kernels.shares_of_best(prefs.relevance, prefs.valid)
    compare(shares, prefs, loop, padding=0)
    torch.testing.assert_close(shares.sum(-1), prefs.valid.any(-1).double())


def test_log_probs_per_token_are_the_loops() -> None:
    prefs = random_prefs(1, views=2)
    bad = replace(prefs, policy=torch.where(prefs.valid, prefs.policy, torch.nan))
    compare(kernels.mean_log_prob(bad), prefs, lambda _, i: i.policy / i.length, padding=0)
    best = kernels.shares_of_best(prefs.relevance, prefs.valid)
    nll = kernels.nll_per_token(bad, best).unsqueeze(-1).expand_as(best)

    def loop(items: list[Seen], _: Seen) -> float:
        top = max(j.relevance for j in items)
        found = [-j.policy / j.length for j in items if j.relevance == top]
        return sum(found) / len(found)

    compare(nll, prefs, loop)
    rest = torch.where(best > 0, prefs.policy, -torch.inf)  # impossible, but nobody asks
    assert torch.equal(kernels.nll_per_token(replace(prefs, policy=rest), best), nll[..., 0])


def test_one_view_keeps_its_axis() -> None:
    prefs = random_prefs(0, views=3)
    for v in range(3):
        only = kernels.one_view(prefs, v)
        for name, value in vars(only).items():
            assert torch.equal(value, getattr(prefs, name)[v].unsqueeze(0))


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
