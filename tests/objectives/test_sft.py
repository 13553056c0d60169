"""SFT is nats of the best candidate over its tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.sft import SFT
from tests.objectives.oracles import checked, each, graded, lists, pick, random_prefs, seen, sft


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_loops(seed: int) -> None:
    prefs = random_prefs(seed, views=2)
    torch.testing.assert_close(SFT("both")(prefs).loss, each(prefs, sft), rtol=0, atol=0)
    assert checked(SFT("both"), prefs)


def test_the_count_is_the_tokens_of_the_best() -> None:
    prefs = random_prefs(1, rows=20)
    expected = each(prefs, lambda items: _best_length(items))
    assert torch.equal(SFT()(prefs).count, expected) and 0 in expected
    other = replace(prefs, policy=prefs.policy * 9 - 1)
    assert torch.equal(SFT()(other).count, expected)


def _best_length(items: list[Any]) -> int:
    return max(items, key=lambda i: (i.relevance, -i.place)).length if items else 0


def test_only_the_best_gets_a_gradient_and_padding_none() -> None:
    prefs = random_prefs(2)
    _, gradient = graded(SFT(), prefs)
    assert set(gradient.unique().tolist()) == {-1.0, 0.0}
    assert torch.equal(gradient.sum(-1), -prefs.valid.any(-1).double())
    assert not bool(gradient[~prefs.valid].any())


def test_order_does_not_matter_where_one_is_best() -> None:
    prefs, turn = lists([0, 2, 1], [-1.0, -2.0, -3.0]), torch.tensor([2, 0, 1])
    assert torch.equal(SFT()(pick(prefs, turn)).loss, SFT()(prefs).loss)
    assert float(SFT()(prefs).loss) == 2.0


def test_the_reference_is_not_read() -> None:
    prefs = random_prefs(0)
    loss = SFT()(replace(prefs, reference=torch.full_like(prefs.reference, torch.nan))).loss
    assert torch.equal(loss, SFT()(prefs).loss) and not SFT().needs_reference


def test_nll_is_per_token() -> None:
    prefs = random_prefs(4, least=1)
    outcome = SFT()(prefs)
    torch.testing.assert_close(outcome.metrics["nll"] * outcome.count, outcome.loss)
    assert all(seen(prefs, 0, b) for b in range(6))


def test_views() -> None:
    assert SFT().views == ("full",) and SFT("bare").views == ("bare",)
    assert SFT("both").views == ("full", "bare") and SFT().candidates == 1


def test_another_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="full, bare, both") as caught:
        SFT(view="all")  # type: ignore[arg-type]
    assert caught.value.where == "view"
