"""The laws that every objective keeps."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives import base
from bvrank.objectives.base import Listwise, Preference
from bvrank.objectives.dpo import DPO
from bvrank.objectives.listnet import ListNet
from bvrank.objectives.sdpo import SDPO
from bvrank.objectives.simpo import SimPO
from bvrank.records import Preferences
from tests.objectives.loops import CASES, Case, bare, variants
from tests.objectives.oracles import checked, graded, lists, padded, pick

every = pytest.mark.parametrize("name", CASES)
preferences = pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if isinstance(c.objective, Preference)]
)
ALONE = {"apo_zero", "apo_down", "orpo", "sft"}  # each side is measured by itself, not the gap
TURN = torch.tensor([3, 0, 4, 1, 2])


def test_every_objective_has_a_case() -> None:
    files = {p.stem for p in Path(base.__file__).parent.glob("*.py")}
    assert files - {"__init__", "base", "crossfit", "gains", "kernels", "schedule"} == set(CASES)


@every
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_loops(name: str, seed: int) -> None:
    case = CASES[name]
    for objective in variants(case.objective):
        prefs = case.prefs(seed)
        outcome, (loss, count) = (
            objective(prefs),
            replace(case, objective=objective).by_loops(prefs),
        )
        torch.testing.assert_close(outcome.loss, loss, rtol=1e-11, atol=1e-11)
        assert torch.equal(outcome.count, count) and bool(count.any())
        assert 0 in count or name == "sft"
        assert outcome.loss.dtype == outcome.count.dtype == torch.float64


@every
def test_gradcheck(name: str) -> None:
    """Off the grid: there hinge has its kinks and LiPO's ranks jump."""
    prefs = CASES[name].prefs(5, rows=4, least=2)
    noise = torch.randn(prefs.policy.shape, generator=torch.Generator().manual_seed(1)).double()
    for objective in variants(CASES[name].objective):
        assert checked(objective, replace(prefs, policy=prefs.policy + noise / 5))


@every
@pytest.mark.parametrize("seed", range(2))
def test_order_does_not_matter(name: str, seed: int) -> None:
    """Where equal labels leave nothing to the order: all pairs, or labels that all differ."""
    prefs = CASES[name].prefs(seed)
    grades = torch.tensor([0.0, 1.0, 2.2, 3.1, 4.7])
    strict = replace(prefs, relevance=grades[prefs.draw.argsort(-1).argsort(-1)])
    for objective in variants(CASES[name].objective):
        free = getattr(objective, "pairs", "") == "whole_list" or isinstance(objective, Listwise)
        for there in (prefs, strict) if free else (strict,):
            loss, gradient = graded(objective, there)
            turned = graded(objective, pick(there, TURN))
            torch.testing.assert_close(turned, (loss, gradient[..., TURN]), rtol=1e-11, atol=1e-11)


@every
@pytest.mark.parametrize("fill", [7.0, -1e4, math.nan])
def test_padding_does_not_matter_whatever_lies_there(name: str, fill: float) -> None:
    prefs = CASES[name].prefs(1)
    for objective in variants(CASES[name].objective):
        loss, gradient = graded(objective, prefs)
        wide = graded(objective, padded(prefs, 3, fill))
        expected = (loss, torch.nn.functional.pad(gradient, (0, 3)))
        torch.testing.assert_close(wide, expected, rtol=1e-12, atol=1e-12)
        assert not bool(gradient[~prefs.valid].any()) and not bool(wide[1][..., 5:].any())
        assert torch.equal(objective(padded(prefs, 3, fill)).count, objective(prefs).count)


@every
def test_a_common_shift_of_scores_changes_nothing_but_where_sides_stand_alone(name: str) -> None:
    objective, prefs = bare(CASES[name].objective), CASES[name].prefs(2)
    prefs = replace(prefs, length=torch.ones_like(prefs.length))  # a shift per token as well
    there = graded(objective, replace(prefs, policy=prefs.policy - 3))
    here = graded(objective, prefs)
    if name in ALONE:
        assert not torch.allclose(there[0], here[0], rtol=1e-3)
    else:
        torch.testing.assert_close(there, here, rtol=1e-11, atol=1e-12)


EDGES = {
    "none": [], "one": [1], "one, irrelevant": [0], "one relevant": [0, 1, 0],
    "none relevant": [0, 0, 0], "all equal": [1, 1, 1], "two best": [1, 0, 1],
    "two best alone": [2, 2],
}  # fmt: skip


@every
@pytest.mark.parametrize("edge", EDGES)
def test_edge_rows(name: str, edge: str) -> None:
    case = CASES[name]
    prefs = row(case, [float(y) for y in EDGES[edge]])
    for objective in variants(case.objective):
        loss, gradient = graded(objective, prefs)
        outcome = objective(prefs)
        expected, count = replace(case, objective=objective).by_loops(prefs)
        torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-12)
        assert torch.equal(outcome.count, count)
        assert bool(torch.isfinite(gradient).all())
        paired = len({*EDGES[edge]}) > 1
        for metric_name, metric in outcome.metrics.items():  # a row without a pair says nothing
            own = not metric_name.startswith(("rewards/", "logps/", "displacement/"))
            told = paired or own or metric_name == "rewards/top1" or name == "sft"
            assert bool((torch.isfinite(metric) if told else metric.isnan()).all()), metric_name
        if not bool(count.any()):
            assert not bool(gradient.any()) and not bool(loss.any())


def row(case: Case, relevance: list[float]) -> Preferences:
    """One list per view, with two places of padding; every candidate an answer of its own."""
    size = len(relevance)
    prefs = lists([*relevance, 0, 0], [*[-1.0, -2.5, -0.5][:size], 9.0, 9.0])
    prefs = replace(prefs, valid=torch.arange(size + 2).expand(1, 1, -1) < size)
    parts = {f.name: getattr(prefs, f.name) for f in fields(prefs)}
    return Preferences(**{n: x.repeat(len(case.shares), 1, 1) for n, x in parts.items()})


@every
def test_counts_do_not_depend_on_the_policy(name: str) -> None:
    prefs = CASES[name].prefs(3)
    for objective in variants(CASES[name].objective):
        other = torch.randn(prefs.policy.shape).double() * 99 - 300
        counts = [objective(replace(prefs, policy=p)).count for p in (prefs.policy, other)]
        assert torch.equal(*counts)


SWAP = 1 / math.log(2) - 1 / math.log(3)
# Loss and its slope in the better score, at s_w - s_l = +1e4 and -1e4; beta is 1.
LIMITS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "dpo": ((0.1 * 1e4, 0.1), (0.9 * 1e4, -0.9)),
    "robust": ((-0.2 * 1e4 / 0.6, -0.2 / 0.6), (0.8 * 1e4 / 0.6, -0.8 / 0.6)),
    "ipo": (((1e4 - 0.5) ** 2, 2 * (1e4 - 0.5)), ((1e4 + 0.5) ** 2, -2 * (1e4 + 0.5))),
    "hinge": ((0, 0), (1e4 + 1, -1)),
    "apo_zero": ((0.5, 0), (1.5, 0)),
    "apo_down": ((1, 0), (1, 0)),
    "simpo": ((0, 0), (1e4 + 0.6, -1)),
    "marginal": ((0.1 * 1e4, 0.1), (0.9 * 1e4, -0.9)),
    "sdpo": ((0, 0), (1e4, -1)),
    "listmle": ((0, 0), (1e4, -1)),
    "listnet": ((0, 0), (1e4, -1)),
    "lipo": ((0, 0), (SWAP * 1e4, -SWAP)),
    "approx_ndcg": ((-1, 0), (-1 / math.log2(3), 0)),
    "irpo": ((math.log(2), 0), (1e4, -1)),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("lost", [False, True])
def test_huge_margins_reach_their_limit(name: str, lost: bool) -> None:
    objective = replace(bare(CASES[name].objective), beta=1.0)
    prefs = padded(lists([1, 0], [-1e4 if lost else 1e4, 0.0]), 2, 0.0)
    loss, gradient = graded(objective, prefs)
    value, slope = LIMITS[name][lost]
    assert float(loss) == pytest.approx(value, rel=1e-12, abs=1e-12)
    both = [slope, -slope] if name != "apo_zero" else [0, 0.25]
    both = both if name != "apo_down" else [0, 0]
    assert gradient.flatten().tolist() == pytest.approx([*both, 0, 0], rel=1e-12, abs=1e-12)


def test_huge_margins_lack_only_those_tested_elsewhere() -> None:
    """ORPO needs log-probs below 0, SFT has no margin, BVPO is what it mixes."""
    assert set(CASES) - set(LIMITS) == {"orpo", "sft", "bvpo"}


@preferences
def test_sft_weight_adds_the_nll_per_token(name: str) -> None:
    """Of the better side: by pairs, or the mean over the best. Only where a row counts."""
    case = CASES[name]
    prefs, objective = case.prefs(4), bare(case.objective)
    without = graded(objective, prefs)
    nll = nll_by_loops(case, prefs)
    for weight in (0.5, 2.0):
        weighted = replace(objective, sft_weight=weight)
        loss, gradient = graded(weighted, prefs)
        torch.testing.assert_close(loss - without[0], weight * nll, rtol=1e-10, atol=1e-11)
        outcome = weighted(prefs)
        counts = outcome.count > 0
        torch.testing.assert_close(torch.where(counts, outcome.metrics["nll"], 0.0), nll)
        assert "nll" not in objective(prefs).metrics and outcome.count.sum() > 0
        if name != "marginal":  # a token of the better side weighs 1 / its tokens
            total = ((gradient - without[1]) * prefs.length).sum(-1)
            torch.testing.assert_close(total, -weight * counts.double(), rtol=1e-10, atol=1e-11)


def nll_by_loops(case: Case, prefs: Preferences) -> torch.Tensor:
    """The NLL per token of the better sides [V,B]: what a weight of 1 adds."""
    plain = bare(case.objective)
    with_it, without = (
        replace(case, objective=o).by_loops(prefs)[0]
        for o in (replace(plain, sft_weight=1.0), plain)
    )
    return with_it - without


@every
def test_what_needs_no_reference_reads_none(name: str) -> None:
    objective, prefs = CASES[name].objective, CASES[name].prefs(1)
    blind = replace(prefs, reference=torch.full_like(prefs.reference, torch.nan))
    reads = bool(objective(blind).loss.isnan().any())
    assert reads == objective.needs_reference
    free = {"sft", "simpo", "orpo"}
    assert objective.needs_reference == (name not in free)
    known = objective(prefs).metrics  # how far it moved from what is not there says nothing
    assert ("displacement/chosen" in known) == (name not in free)


@every
def test_metrics_are_detached(name: str) -> None:
    prefs = CASES[name].prefs(0)
    outcome = CASES[name].objective(replace(prefs, policy=prefs.policy.clone().requires_grad_()))
    assert outcome.metrics and not any(m.requires_grad for m in outcome.metrics.values())
    assert all(m.shape == outcome.loss.shape for m in outcome.metrics.values())
    assert outcome.loss.requires_grad


def test_top1_is_that_the_best_scores_highest() -> None:
    for objective in (c.objective for c in CASES.values() if isinstance(c.objective, Listwise)):
        for relevance, hit in (([0, 2, 1], 1), ([0, 2, 2], 1), ([2, 0, 1], 0)):
            prefs = padded(lists(relevance, [-3.0, -1.0, -2.0]), 1, 9.0)
            assert float(objective(prefs).metrics["rewards/top1"]) == hit
        level = padded(lists([0, 2, 1, 2], [1e-9, 0.0, -1e-9, 0.0]), 1, 9.0)
        assert float(objective(level).metrics["rewards/top1"]) == 0.5


def test_the_ideal_is_what_a_perfect_order_earns() -> None:
    prefs = lists([0, 2, 1], [5.0, -1.0, 0.0])
    assert float(ListNet(ranks="model").ideal(prefs)) == pytest.approx(3 + 1 / math.log2(3))
    shown = ListNet(ranks="shown").weights(prefs, prefs.policy).flatten().tolist()
    assert shown == pytest.approx([0, 3 / math.log2(3), 1 / 2])


def test_scores_are_zero_on_padding() -> None:
    prefs = CASES["sdpo"].prefs(0)
    for objective in (DPO(), SDPO(), SDPO(reduce="mean"), SimPO()):
        assert not bool(objective.scores(prefs)[~prefs.valid].any())


@preferences
@pytest.mark.parametrize(("field", "value"), [
    ("beta", 0.0), ("beta", -1.0), ("beta", math.inf), ("sft_weight", -0.1),
    ("sft_weight", math.nan), ("view", "both"),
])  # fmt: skip
def test_a_field_out_of_range_is_named(name: str, field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(CASES[name].objective, **{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize(("field", "value"), [
    ("pairs", "all"), ("reduce", "max"), ("weight", "ndcg"), ("ranks", "best"), ("ties", "mean"),
    ("k", 0), ("decay", -1.0),
])  # fmt: skip
def test_a_field_of_its_kind_out_of_range_is_named(field: str, value: Any) -> None:
    for case in CASES.values():
        if field in {f.name for f in fields(case.objective)}:
            with pytest.raises(ConfigError) as caught:
                replace(case.objective, **{field: value})
            assert caught.value.where == field


@preferences
def test_it_reads_its_view(name: str) -> None:
    objective = CASES[name].objective
    assert objective.views == ("full",) and replace(objective, view="bare").views == ("bare",)
    assert objective.candidates == 2
