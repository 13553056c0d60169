"""Laws that reach through the scorer to the weights of a small model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bvrank.engines.local import LocalEngine
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.lipo import LiPO
from bvrank.records import Encoded, TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.scorer import Scorer
from bvrank.trainer import share
from tests.objectives.estimator import pulls
from tests.scoring.trees import list_tree, pair_tree
from tests.small import model

COLLATE = Collator("forest", Cost(1.0, 0.0))


def batch_of(examples: Sequence[Sequence[Encoded]], views: tuple[str, ...]) -> TokenBatch:
    """A batch whose reference is another model."""
    batch = COLLATE([[Row(tree) for tree in trees] for trees in examples], views)
    with torch.no_grad():
        reference = Scorer(model(seed=1), chunk=16)(batch)
    return replace(batch, labels=replace(batch.labels, reference=reference))


def step(objective: Any, examples: Sequence[Sequence[Encoded]]) -> tuple[Tensor, Tensor]:
    """What one optimiser step sees: the loss and its gradient over all weights."""
    batch, scorer = batch_of(examples, objective.views), Scorer(model(), chunk=16)
    outcome = objective(replace(batch.labels, policy=scorer(batch)))
    loss = share(outcome, outcome.count.sum(1))
    return loss.detach(), torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, [*scorer.parameters()])]
    )


def only(tree: Encoded, view: str, name: str) -> Encoded:
    """The tree's branches of `view`, as `name`."""
    branches = (replace(b, view=name) for b in tree.branches if b.view == view)
    return replace(tree, branches=tuple(branches))


def test_a_union_of_both_kinds_of_pairs_is_the_even_mix() -> None:
    """DPO on 2B pairs, half with traces and half without, in one view; BVPO(0.5) on the same."""
    rng = np.random.default_rng(0)
    trees = [
        pair_tree(rng, prompt=int(rng.integers(3, 9)), answers=[4, int(rng.integers(2, 8))])
        for _ in range(10)
    ]
    traced, plain = trees[:5], trees[5:]  # drawn independently: other prompts on the other side
    pairs = [[only(t, "full", "full"), only(e, "bare", "bare")]
             for t, e in zip(traced, plain, strict=True)]  # fmt: skip
    union = [[only(t, v, "full")] for ts, v in ((traced, "full"), (plain, "bare")) for t in ts]
    (mixed, slope), (whole, slopes) = step(BVPO(0.5, beta=0.3), pairs), step(DPO(0.3), union)
    torch.testing.assert_close(mixed, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, slopes, rtol=1e-9, atol=1e-12)
    assert float(slope.norm()) > 1e-3


def candidate_gradients(trees: list[Encoded]) -> tuple[Any, Tensor]:
    """Preferences of one list and grad log pi of each candidate [K, weights]."""
    batch, scorer = batch_of([trees], ("full",)), Scorer(model(), chunk=16)
    policy = scorer(batch)
    weights = [*scorer.parameters()]
    rows = [torch.autograd.grad(x, weights, retain_graph=True) for x in policy[0, 0]]
    return replace(batch.labels, policy=policy.detach()), torch.stack(
        [torch.cat([g.flatten() for g in row]) for row in rows]
    )


@pytest.mark.parametrize("inlist", [False, True])
@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_irpos_gradient_is_the_papers(beta: float, inlist: bool) -> None:
    """grad L = beta sum_i w(i) sigma(-z_i) sum_j rho_ij grad[log pi(e_j) - log pi(e_i)]."""
    tree = list_tree(np.random.default_rng(2), prompt=5, items=[3, 1, 4, 2, 2], inlist=inlist)
    prefs, slopes = candidate_gradients([tree])
    s = beta * (prefs.policy - prefs.reference)[0, 0]
    a, rho = pulls(s, prefs.relevance[0, 0].double())
    expected = torch.zeros_like(slopes[0])
    for i in range(5):
        for j in range(5):
            expected += beta * a[i] * rho[i, j] * (slopes[j] - slopes[i])
    _, found = step(IRPO(beta), [[tree]])
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)
    assert float(found.norm()) > 1e-2


def test_the_mean_of_the_sampled_estimator_is_that_gradient() -> None:
    """In the weights: over every j that an anchor can draw, by its chance."""
    tree = list_tree(np.random.default_rng(3), prompt=4, items=[2, 3, 1], inlist=False)
    prefs, slopes = candidate_gradients([tree])
    a, rho = pulls(0.5 * (prefs.policy - prefs.reference)[0, 0], prefs.relevance[0, 0].double())
    mean = torch.zeros_like(slopes[0])
    for i in range(3):
        draws = torch.stack([0.5 * a[i] * (slopes[j] - slopes[i]) for j in range(3)])
        mean += (rho[i].unsqueeze(1) * draws).sum(0)
    torch.testing.assert_close(step(IRPO(0.5), [[tree]])[1], mean, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("objective", [DPO(0.5), LiPO(0.5)])
def test_objectives_see_float64_however_the_model_computes(objective: Any) -> None:
    """Under bf16 the log-probs are per-token values in fp32, summed in float64."""
    rng = np.random.default_rng(1)
    trees = [list_tree(rng, prompt=5, items=[3, 30, 2], inlist=False) for _ in range(2)]
    batch = batch_of([[t] for t in trees], objective.views)
    scorer = Scorer(model(torch.float32), chunk=16)
    tokens: list[Tensor] = []
    real = scorer.tokens
    scorer.tokens = lambda rows, parts=0: tokens.append(real(rows, parts)) or tokens[-1]  # type: ignore[assignment,func-returns-value]
    optimizer = torch.optim.SGD(scorer.parameters(), lr=0.1)
    engine = LocalEngine(scorer, optimizer, torch.device("cpu"), "bf16", 1.0)
    policy = engine.score(batch)
    assert policy.dtype == torch.float64 and {t.dtype for t in tokens} == {torch.float32}
    sums = torch.zeros(policy.numel(), dtype=torch.float64)
    for rows, values in zip(batch.rows, tokens, strict=True):
        sums.index_add_(0, rows.owner, values.detach().double())
    assert torch.equal(policy.detach().flatten(), sums)
    outcome = objective(replace(batch.labels, policy=policy))
    assert outcome.loss.dtype == outcome.count.dtype == torch.float64
    assert all(m.dtype == torch.float64 for m in outcome.metrics.values())
    exact = objective(replace(batch.labels, policy=Scorer(model(torch.float32))(batch))).loss
    torch.testing.assert_close(outcome.loss, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(outcome.loss, exact)  # it did compute in bf16
    engine.backward(outcome.loss.sum())
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in scorer.parameters())
