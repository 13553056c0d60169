"""IRPO in its three forms, with every weight, against loops and closed forms; its estimator."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.dpo import DPO
from bvrank.objectives.gains import WEIGHTS, rank_weights
from bvrank.objectives.irpo import IRPO
from tests.objectives.estimator import (
    SIZES,
    estimator_moments,
    pulls,
    random_list,
    relative_variances,
    simulated,
    table,
)
from tests.objectives.oracles import (
    checked,
    each,
    graded,
    irpo,
    lists,
    padded,
    pick,
    random_prefs,
)

FORMS = ("paper", "official", "softmax")
RANKS = ("ideal", "shown", "model")
TEN = lists([1, 1, *[0] * 8])


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_loops(form: Any, weight: Any) -> None:
    prefs = random_prefs(7, rows=12)
    options = product(RANKS, ("averaged", "order"), (False, True), ("sum", "mean"))
    for ranks, ties, normalize, reduce in options:
        objective = IRPO(0.7, form=form, weight=weight, ranks=ranks, ties=ties,  # type: ignore[arg-type]
                         normalize=normalize, reduce=reduce, k=2)  # type: ignore[arg-type]  # fmt: skip
        expected = each(prefs, lambda items, o=objective: irpo(items, o))
        torch.testing.assert_close(objective(prefs).loss, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_gradcheck(form: Any, reduce: Any, seed: int) -> None:
    assert checked(IRPO(0.7, form=form, reduce=reduce, ranks="shown"), random_prefs(seed, rows=3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ranks", RANKS)
def test_the_gradient_in_closed_form(form: Any, ranks: Any) -> None:
    """dL/ds_k = sum_i w_i c_i (p_k - [k = i])."""
    prefs = lists([2, 0, 1, 0, 1], [0.3, -1.0, 2.0, 0.1, 0.7])
    s, n = prefs.policy[0, 0], 5
    p = s.softmax(-1)
    key = {"ideal": prefs.relevance[0, 0].double(), "shown": -prefs.rank[0, 0].double(), "model": s}
    w = rank_weights(key["ideal"], key[ranks], p > 0, "dcg", "averaged", 3, 0.5)
    c = {"paper": 1 / (1 + p), "official": 1 / (n * (1 + (n - 2) * p)), "softmax": p / p}[form]
    expected = (w * c).sum() * p - w * c
    _, gradient = graded(IRPO(1.0, form=form, ranks=ranks), prefs)
    torch.testing.assert_close(gradient[0, 0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("form", "value"), [("official", 0.113047), ("paper", 3.91078), ("softmax", 3.75535)]
)
def test_the_published_vectors(form: Any, value: float) -> None:
    assert float(IRPO(form=form)(TEN).loss) == pytest.approx(value, rel=5e-6)
    y = TEN.relevance[0, 0].double()
    total = rank_weights(y, y, y > -1, "dcg", "averaged", 3, 0.5).sum()
    assert float(total) == pytest.approx(1.63093, rel=1e-6)
    uniform = {"official": math.log(2) / 10, "paper": math.log(11), "softmax": math.log(10)}[form]
    assert float(IRPO(form=form, normalize=True)(TEN).loss) == pytest.approx(uniform, rel=1e-14)
    assert float(IRPO(form=form)(TEN).loss) == pytest.approx(float(total) * uniform, rel=1e-14)


@pytest.mark.parametrize("gap", [-3.0, 0.0, 0.4])
@pytest.mark.parametrize("weight", ["dcg", "mrr", "map", "p_at_k", "edcg", "reciprocal"])
def test_two_items_one_relevant_are_half_of_a_dpo_pair(weight: Any, gap: float) -> None:
    prefs = lists([0, 1], [0.0, gap])
    listwise = graded(IRPO(0.5, form="official", weight=weight), prefs)
    pairwise = graded(DPO(0.5), prefs)
    for one, other in zip(listwise, pairwise, strict=True):  # w = 1 at rank 1
        torch.testing.assert_close(one, other / 2, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("ranks", RANKS)
def test_order_and_padding_do_not_matter(form: Any, weight: Any, ranks: Any) -> None:
    prefs, objective = random_prefs(5), IRPO(0.7, form=form, weight=weight, ranks=ranks)
    loss, gradient = graded(objective, prefs)
    turn = torch.tensor([3, 0, 4, 1, 2])
    turned = graded(objective, pick(prefs, turn))
    torch.testing.assert_close(turned, (loss, gradient[..., turn]), rtol=1e-11, atol=1e-12)
    wide = graded(objective, padded(prefs, 3, 7.0))
    expected = (loss, torch.nn.functional.pad(gradient, (0, 3)))
    torch.testing.assert_close(wide, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scores", [[1e4, 0, -1e4], [-1e4, 1e4, 0], [0, -1e4, 1e4]])
def test_huge_margins_stay_finite(form: Any, scores: list[float]) -> None:
    prefs = padded(lists([1, 0, 0], scores), 2, 0.0)
    loss, gradient = graded(IRPO(1.0, form=form), prefs)
    gap = max(scores[1], scores[2]) - scores[0]
    scale = 3.0 if form == "official" else 1.0
    won = {"paper": math.log(2), "official": 0.0, "softmax": 0.0}[form]
    shift = math.log(2) if form == "official" else 0.0  # the mean over two rivals
    assert float(loss) == pytest.approx((gap - shift) / scale if gap > 0 else won, rel=1e-9)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.sum()) == pytest.approx(0, abs=1e-12)
    assert float(gradient[0, 0, 0]) == pytest.approx(-1 / scale if gap > 0 else 0, abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("normalize", [False, True])
def test_nothing_relevant_counts_nothing(form: Any, weight: Any, normalize: bool) -> None:
    prefs, objective = lists([0, 0, 0], [1.0, -2.0, 0.5]), IRPO(1.0, form=form, weight=weight)
    objective = replace(objective, normalize=normalize, ranks="shown")
    loss, gradient = graded(objective, prefs)
    assert float(loss) == 0 == float(objective(prefs).count) and not bool(gradient.any())


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_count_does_not_depend_on_the_policy(ranks: Any, weight: Any) -> None:
    prefs, objective = (
        random_prefs(6, rows=12, levels=2),
        IRPO(1.0, form="paper", weight=weight, ranks=ranks),
    )
    other = replace(prefs, policy=torch.randn(prefs.policy.shape).double() * 50)
    assert torch.equal(objective(prefs).count, objective(other).count)
    relevant = (prefs.valid & (prefs.relevance >= 1)).any(-1) & (prefs.valid.sum(-1) > 1)
    assert torch.equal(objective(prefs).count, relevant.double()) and not bool(relevant.all())


@pytest.mark.parametrize("beta", [1e-3, 0.01, 0.05, 1.0])
def test_the_leaky_mask_leaves_exp_of_minus_100_beta(beta: float) -> None:
    """z_i = -log of the mean over rivals, to whose sum the own term adds e^(-100 beta)."""
    y, ratios = [2.0, 0.0, 1.0, 0.0], [3.0, -1.0, 9.0, 0.5]
    prefs, w = padded(lists(y, ratios), 2, 7.0), (3.0, 0.0, 1 / math.log2(3), 0.0)
    expected = 0.0
    for i, a in enumerate(ratios):
        rivals = sum(math.exp(beta * (b - a)) for j, b in enumerate(ratios) if j != i)
        z = -math.log((rivals + math.exp(-100 * beta)) / 3)
        expected += w[i] * math.log(1 + math.exp(-z)) / 4
    objective = IRPO(beta, form="official", leaky_self_mask=True)
    assert float(objective(prefs).loss) == pytest.approx(expected, rel=1e-12)
    tight = float(replace(objective, leaky_self_mask=False)(prefs).loss)
    assert (tight == pytest.approx(expected, rel=1e-12)) == (beta == 1.0)
    assert checked(objective, prefs) and checked(objective, random_prefs(1, rows=3))


def test_only_the_official_form_leaks() -> None:
    for form in ("paper", "softmax"):
        with pytest.raises(ConfigError, match="form=official") as caught:
            IRPO(form=form, leaky_self_mask=True)  # type: ignore[arg-type]
        assert caught.value.where == "leaky_self_mask"


def test_a_common_shift_of_all_scores_changes_nothing() -> None:
    prefs = random_prefs(2)
    for form in FORMS:
        moved = graded(IRPO(form=form), replace(prefs, policy=prefs.policy + 123.0))  # type: ignore[arg-type]
        torch.testing.assert_close(moved, graded(IRPO(form=form), prefs), rtol=1e-11, atol=1e-12)  # type: ignore[arg-type]


def test_top1_says_whether_the_best_scores_highest() -> None:
    assert float(IRPO()(lists([0, 2, 1], [0.0, 1.0, 0.5])).metrics["rewards/top1"]) == 1
    assert float(IRPO()(lists([0, 2, 1], [0.0, 1.0, 1.5])).metrics["rewards/top1"]) == 0


def test_ranks_by_the_model_pass_no_gradient_through_the_ranks() -> None:
    prefs = lists([1, 0, 1], [0.2, 0.9, -0.4])
    assert checked(IRPO(ranks="model"), prefs)


@pytest.mark.parametrize(("field", "value"), [
    ("beta", 0.0), ("k", 0), ("decay", -1.0), ("form", "papre"), ("weight", "ndcg"),
    ("ranks", "best"), ("ties", "mean"), ("reduce", "max"), ("view", "both"),
])  # fmt: skip
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        IRPO(**{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_of_the_sampled_estimator_is_the_exact_gradient(size: int) -> None:
    scores, relevance = random_list(size, 1.5, torch.Generator().manual_seed(size))
    _, gradient = graded(IRPO(1.0), lists(relevance.tolist(), scores.tolist()))
    mean = estimator_moments(scores, relevance).mean
    torch.testing.assert_close(mean, gradient[0, 0], rtol=1e-11, atol=1e-13)


def test_its_moments_are_those_of_every_draw_weighed_by_its_chance() -> None:
    scores = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)
    relevance = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    a, rho = pulls(scores, relevance)
    mean, square, whole = torch.zeros(4).double(), 0.0, 0.0
    for js in product(range(4), repeat=4):
        chance = math.prod(float(rho[i, j]) for i, j in enumerate(js))
        value = torch.zeros(4).double()
        for i, j in enumerate(js):
            value[j] += a[i]
            value[i] -= a[i]
        whole += chance
        mean += chance * value
        square += chance * float(value @ value)
    found = estimator_moments(scores, relevance)
    assert whole == pytest.approx(1)
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=1e-14)
    assert found.variance == pytest.approx(square - float(mean @ mean), rel=1e-12)
    assert found.relative == pytest.approx(found.variance / float(mean @ mean), rel=1e-12)


@pytest.mark.parametrize("size", [2, 10, 50])
def test_its_moments_are_those_of_a_simulation(size: int) -> None:
    """Within five standard errors."""
    count = 20_000
    scores, relevance = random_list(size, 1.0, torch.Generator().manual_seed(size))
    drawn, exact = simulated(scores, relevance, count, seed=1), estimator_moments(scores, relevance)
    off = float((drawn.mean(0) - exact.mean).norm())
    assert off < 5 * math.sqrt(exact.variance / count)
    squares = ((drawn - exact.mean) ** 2).sum(1)
    assert abs(float(squares.mean()) - exact.variance) < 5 * float(squares.std()) / count**0.5


@pytest.mark.parametrize("size", SIZES)
def test_with_one_relevant_item_and_equal_scores_the_noise_is_the_gradient(size: int) -> None:
    relevance = torch.zeros(size, dtype=torch.float64)
    relevance[0] = 1
    found = estimator_moments(torch.full_like(relevance, 0.3), relevance)
    assert found.relative == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("gap", [-3.0, 0.0, 5.0])
def test_of_two_the_noise_grows_as_the_pair_is_settled(gap: float) -> None:
    """p / (1 - p) = e^gap: draws that hit the anchor itself say nothing."""
    scores = torch.tensor([gap, 0.0], dtype=torch.float64)
    found = estimator_moments(scores, torch.tensor([1.0, 0.0]).double())
    assert found.relative == pytest.approx(math.exp(gap), rel=1e-12)


def test_the_table_has_a_line_for_every_size() -> None:
    found = relative_variances(10, 1.0, 20, 0)
    assert found == sorted(found) and found == relative_variances(10, 1.0, 20, 0)
    lines = table(count=10).splitlines()
    assert [int(line.split()[0]) for line in lines[3:]] == list(SIZES)
