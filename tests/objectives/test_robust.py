"""Robust DPO is unbiased under flipped labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bvrank.errors import ConfigError
from bvrank.objectives.dpo import DPO
from bvrank.objectives.robust import Robust
from tests.objectives.oracles import graded, lists, random_prefs


@pytest.mark.parametrize("e", [0.05, 0.2, 0.45])
def test_its_mean_over_labels_flipped_with_chance_e_is_dpo_on_clean_ones(e: float) -> None:
    prefs = random_prefs(0, width=2, rows=20, levels=2)
    flipped = replace(prefs, relevance=1 - prefs.relevance)
    right, wrong = (graded(Robust(0.7, label_smoothing=e), p) for p in (prefs, flipped))
    for clean, a, b in zip(graded(DPO(0.7), prefs), right, wrong, strict=True):
        torch.testing.assert_close((1 - e) * a + e * b, clean, rtol=1e-12, atol=1e-12)


def test_without_flips_it_is_dpo() -> None:
    prefs = random_prefs(1)
    for one, other in zip(graded(Robust(label_smoothing=0.0), prefs), graded(DPO(), prefs),
                          strict=True):  # fmt: skip
        assert torch.equal(one, other)


def test_it_falls_without_end_as_the_gap_grows() -> None:
    losses = [float(Robust(1.0)(lists([1, 0], [gap, 0.0])).loss) for gap in (10.0, 1e3, 1e6)]
    assert losses[0] > losses[1] > losses[2] and losses[2] == pytest.approx(-0.1 / 0.8 * 1e6)


@pytest.mark.parametrize("value", [0.5, -0.1, 0.7])
def test_a_share_of_flips_from_one_half_on_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"\[0, 0.5\)") as caught:
        Robust(label_smoothing=value)
    assert caught.value.where == "label_smoothing"
