"""BVPO is a mix of two DPO losses, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.base import check_mixed
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.listnet import ListNet
from bvrank.objectives.marginal import Marginal
from bvrank.objectives.orpo import ORPO
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO
from bvrank.records import Outcome, Preferences
from tests.objectives.loops import CASES
from tests.objectives.oracles import checked, dpo, each, graded, random_prefs

INNER = {n: c.objective for n, c in CASES.items() if n != "bvpo"}
any_loss = pytest.mark.parametrize("inner", INNER)


def view(prefs: Preferences, v: int) -> Preferences:
    return Preferences(**{f.name: getattr(prefs, f.name)[v : v + 1] for f in fields(prefs)})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_loops(seed: int, smoothing: float) -> None:
    prefs, objective = (
        random_prefs(seed, views=2, width=3),
        BVPO(0.3, 0.7, loss=DPO(label_smoothing=smoothing)),
    )
    expected = each(prefs, lambda items: dpo(items, 0.7, smoothing, "best_worst"))
    expected = expected * torch.tensor([[0.3], [0.7]], dtype=torch.float64)
    torch.testing.assert_close(objective(prefs).loss, expected, rtol=1e-12, atol=1e-12)
    assert checked(objective, prefs)


@pytest.mark.parametrize(("alpha", "name", "v"), [(1.0, "full", 0), (0.0, "bare", 1)])
def test_the_endpoints_are_dpo_on_one_view(alpha: float, name: Any, v: int) -> None:
    prefs = view(random_prefs(0, views=2), v)
    mixed, alone = (
        BVPO(alpha, 0.4, loss=DPO(label_smoothing=0.1)),
        DPO(0.4, label_smoothing=0.1, view=name),
    )
    assert mixed.views == alone.views == (name,)
    for one, other in zip(graded(mixed, prefs), graded(alone, prefs), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(mixed(prefs).count, alone(prefs).count)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.83])
def test_loss_and_gradient_are_linear_in_alpha(alpha: float) -> None:
    prefs = random_prefs(1, views=2)
    loss, gradient = graded(BVPO(alpha), prefs)
    for v, (share, name) in enumerate(((alpha, "full"), (1 - alpha, "bare"))):
        end_loss, end_gradient = graded(BVPO(1.0 if name == "full" else 0.0), view(prefs, v))
        torch.testing.assert_close(loss[v : v + 1], share * end_loss, rtol=1e-14, atol=0)
        torch.testing.assert_close(gradient[v : v + 1], share * end_gradient, rtol=1e-13, atol=0)


@any_loss
@pytest.mark.parametrize(("alpha", "name"), [(1.0, "full"), (0.0, "bare")])
def test_an_endpoint_is_its_loss_on_one_view_to_the_bit(
    inner: str, alpha: float, name: str
) -> None:
    prefs, mixed = CASES[inner].prefs(0), BVPO(alpha, loss=INNER[inner])
    alone = replace(INNER[inner], view=name)
    assert mixed.views == alone.views == (name,)
    assert mixed.needs_reference == alone.needs_reference
    assert mixed.candidates == alone.candidates
    for one, other in zip(graded(mixed, prefs), graded(alone, prefs), strict=True):
        assert torch.equal(one, other)
    found, expected = mixed(prefs), alone(prefs)
    assert torch.equal(found.count, expected.count)
    assert {n: m for n, m in found.metrics.items() if n != "loss"}.keys() == expected.metrics.keys()
    torch.testing.assert_close(
        {n: found.metrics[n] for n in expected.metrics}, dict(expected.metrics),
        rtol=0, atol=0, equal_nan=True,
    )  # fmt: skip


@any_loss
@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_any_loss_is_mixed_linearly(inner: str, alpha: float) -> None:
    prefs = replace(CASES["bvpo"], objective=None).prefs(1)
    mixed = BVPO(alpha, loss=INNER[inner])
    loss, gradient = graded(mixed, prefs)
    for v, share in enumerate((alpha, 1 - alpha)):
        part, slope = graded(INNER[inner], view(prefs, v))
        torch.testing.assert_close(loss[v : v + 1], share * part, rtol=1e-14, atol=0)
        torch.testing.assert_close(gradient[v : v + 1], share * slope, rtol=1e-13, atol=0)
        count = INNER[inner](view(prefs, v)).count
        assert torch.equal(mixed(prefs).count[v : v + 1], count)


@pytest.mark.parametrize("inner", [n for n in INNER if n != "sft"])
def test_each_view_has_its_beta(inner: str) -> None:
    prefs = CASES["bvpo"].prefs(2)
    plain = replace(INNER[inner], beta=type(INNER[inner]).beta)
    for beta, bare_beta, expected in (
        (0.4, None, (0.4, 0.4)), (0.4, 0.9, (0.4, 0.9)), (None, 0.9, (plain.beta, 0.9)),
        (None, None, (plain.beta, plain.beta)),
    ):  # fmt: skip
        found = graded(BVPO(0.5, beta, bare_beta, plain), prefs)
        for v, value in enumerate(expected):
            part = graded(replace(plain, beta=value), view(prefs, v))
            for whole, alone in zip(found, part, strict=True):
                torch.testing.assert_close(whole[v : v + 1], alone / 2, rtol=1e-13, atol=0)


def test_a_union_of_as_many_pairs_of_each_kind_is_the_even_mix() -> None:
    """DPO over 2B pairs in one view: the mean over all is the mean of the two means."""
    prefs = random_prefs(0, views=2, rows=16, width=2, least=2)
    prefs = replace(prefs, relevance=torch.tensor([1.0, 0.0]).expand(2, 16, 2))
    as_one = Preferences(**{f.name: getattr(prefs, f.name).flatten(0, 1).unsqueeze(0)
                            for f in fields(prefs)})  # fmt: skip
    mixed, slopes = graded(BVPO(0.5, beta=0.3), prefs)
    union, slope = graded(DPO(0.3), as_one)
    torch.testing.assert_close((mixed.sum(1) / 16).sum(), union.sum() / 32, rtol=1e-14, atol=0)
    torch.testing.assert_close(slopes / 16, slope.view(2, 16, 2) / 32, rtol=1e-13, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_at_the_reference_the_means_add_up_to_ln_2(alpha: float) -> None:
    objective = BVPO(alpha)
    prefs = random_prefs(0, views=len(objective.views))
    outcome = objective(replace(prefs, policy=prefs.reference))
    total = (outcome.loss.sum(1) / outcome.count.sum(1)).sum()
    assert float(total) == pytest.approx(math.log(2), abs=1e-14)


def test_a_view_that_a_row_lacks_counts_nothing_and_leaves_the_other_alone() -> None:
    prefs = random_prefs(3, views=2, least=3)
    gone = prefs.valid.clone()
    gone[1, 2] = False
    before, after = graded(BVPO(), prefs), graded(BVPO(), replace(prefs, valid=gone))
    assert float(BVPO()(replace(prefs, valid=gone)).count[1, 2]) == 0 == float(after[0][1, 2])
    assert not bool(after[1][1, 2].any())
    rest = torch.ones(prefs.valid.shape[:2], dtype=torch.bool)
    rest[1, 2] = False
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[rest], other[rest])


def test_the_term_is_the_unweighted_loss_in_the_graph() -> None:
    prefs = random_prefs(0, views=2)
    outcome = BVPO(0.2)(replace(prefs, policy=prefs.policy.clone().requires_grad_()))
    assert outcome.terms["loss"].requires_grad and not outcome.metrics["loss"].requires_grad
    share = torch.tensor([[0.2], [0.8]], dtype=torch.float64)
    torch.testing.assert_close(share * outcome.terms["loss"], outcome.loss)
    assert torch.equal(outcome.terms["loss"], outcome.metrics["loss"])


def test_views_follow_alpha() -> None:
    assert [BVPO(a).views for a in (0.0, 0.5, 1.0)] == [("bare",), ("full", "bare"), ("full",)]
    assert BVPO().candidates == 2 and BVPO().needs_reference


@pytest.mark.parametrize(("field", "value"), [
    ("alpha", -0.1), ("alpha", 1.1), ("alpha", math.nan), ("beta", 0.0), ("bare_beta", -1.0),
])  # fmt: skip
def test_a_field_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        BVPO(**{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize(("loss", "beta", "bare_beta", "where"), [
    (1.0, None, None, "loss"), (BVPO(), None, None, "loss"), (DPO(view="bare"), None, None,
     "loss.view"), (SFT("both"), None, None, "loss.view"), (SFT(), 0.1, None, "beta"),
    (SFT(), None, 0.1, "bare_beta"), (DPO(), -1.0, None, "beta"), (DPO(), None, 0.0, "bare_beta"),
])  # fmt: skip
def test_what_cannot_be_mixed(loss: Any, beta: Any, bare_beta: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_mixed(loss, beta, bare_beta)
    assert caught.value.where == where


@pytest.mark.parametrize(("loss", "beta", "bare_beta"), [
    (DPO(), 0.7, None), (DPO(0.7), 0.7, 0.2), (DPO(0.7), None, 0.2), (SFT(), None, None),
    (SimPO(), 3.0, None), (ORPO(), 0.5, 0.1), (ListNet(), 0.2, None), (Marginal(), None, None),
])  # fmt: skip
def test_what_can_be_mixed(loss: Any, beta: Any, bare_beta: Any) -> None:
    check_mixed(loss, beta, bare_beta)


@dataclass(frozen=True)
class Own:
    """A loss from elsewhere, whose beta has no usual value."""

    beta: float
    view: str = "full"
    candidates: int = 2
    needs_reference: bool = True

    def __call__(self, prefs: Preferences) -> Outcome:
        return DPO(self.beta)(prefs)


def test_a_loss_from_elsewhere_needs_no_usual_beta() -> None:
    prefs = random_prefs(0, views=2)
    mixed = BVPO(0.5, beta=0.3, bare_beta=0.6, loss=Own(0.2))
    assert torch.equal(mixed(prefs).loss, BVPO(0.5, 0.3, 0.6)(prefs).loss)
    alone = BVPO(0.5, loss=Own(0.2))
    assert torch.equal(alone(prefs).loss, BVPO(0.5, 0.2)(prefs).loss)
