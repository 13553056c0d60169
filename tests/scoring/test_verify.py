"""A scorer that does not compute what its model computes is found before it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bvrank.errors import ModelError
from bvrank.records import Block, TokenRows
from bvrank.scoring.layout import Layout
from bvrank.scoring.scorer import Scorer
from bvrank.scoring.verify import TOLERANCE, verify_scorer
from tests.small import model

LAYOUTS: tuple[Layout, ...] = ("forest", "masked", "padded")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_right_scorer_passes(layout: Layout, dtype: torch.dtype, tolerance: float) -> None:
    scorer = Scorer(model(dtype)).train()
    assert verify_scorer(scorer, layout) <= tolerance < TOLERANCE
    assert scorer.training and scorer.model.training


def scaled(policy: Any, factor: float) -> Any:
    """As some families do: the model's own forward scales the logits behind its head."""
    plain = policy.forward

    def forward(*args: Any, **options: Any) -> Any:
        out = plain(*args, **options)
        out.logits = out.logits * factor
        return out

    policy.forward = forward
    return policy


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("factor", [0.9, 2.0])
def test_scaled_logits_are_found(layout: Layout, factor: float) -> None:
    with pytest.raises(ModelError, match="nats per token") as caught:
        verify_scorer(Scorer(scaled(model(torch.float32), factor)), layout)
    assert caught.value.where == "model"


def sharp() -> Any:
    """Attention that depends on where and what, as in a trained model; at the scale of fresh
    weights most mistakes hardly show."""
    policy = model(torch.float32)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(10 if weight.dim() == 2 else 1)
    return policy


class CausalOnly(Scorer):
    """Lets a branch see the branches before it."""

    def _mask(self, rows: TokenRows) -> None:
        return None


class SelfOnly(Scorer):
    """Hides the prompt from the branches."""

    def _mask(self, rows: TokenRows) -> Any:
        whole = super()._mask(rows)
        own = rows.segment.unsqueeze(-1) == rows.segment.unsqueeze(-2)
        return whole.masked_fill(~own.unsqueeze(1), torch.finfo(whole.dtype).min)


class Flat(Scorer):
    """Counts positions along the row instead of along the path."""

    def tokens(self, rows: TokenRows, parts: int = 0) -> Any:
        rows.position.copy_(torch.arange(rows.ids.shape[1]))
        return super().tokens(rows)


class Unshifted(Scorer):
    """Reads a token's log-prob from its own state."""

    def tokens(self, rows: TokenRows, parts: int = 0) -> Any:
        rows.source.add_(1)
        return super().tokens(rows)


@pytest.mark.parametrize("wrong", [CausalOnly, SelfOnly, Flat, Unshifted])
def test_a_wrong_mask_position_or_shift_is_found(wrong: type[Scorer]) -> None:
    with pytest.raises(ModelError, match=r"scoring\.layout=padded"):
        verify_scorer(wrong(sharp()), "masked")


class OneRun(Scorer):
    """Attends along the row instead of along the path."""

    def tokens(self, rows: TokenRows, parts: int = 0) -> Any:
        whole = (0, rows.ids.shape[1])
        return super().tokens(replace(rows, blocks=(Block(whole, whole, "causal", True),)))


class NoPrompt(Scorer):
    """Joins nothing of what stands above a segment."""

    def tokens(self, rows: TokenRows, parts: int = 0) -> Any:
        own = {b.queries: replace(b, first=True) for b in rows.blocks if b.queries == b.keys}
        return super().tokens(replace(rows, blocks=tuple(own.values())))


@pytest.mark.parametrize("wrong", [OneRun, NoPrompt, Flat, Unshifted])
def test_wrong_blocks_positions_or_shifts_are_found(wrong: type[Scorer]) -> None:
    with pytest.raises(ModelError, match=r"scoring\.layout=padded"):
        verify_scorer(wrong(sharp()), "forest")


def test_the_probe_has_blocks_of_every_kind() -> None:
    seen: list[Block] = []

    class Look(Scorer):
        def tokens(self, rows: TokenRows, parts: int = 0) -> Any:
            seen.extend(rows.blocks)
            return super().tokens(rows)

    verify_scorer(Look(sharp()), "forest")
    assert {b.kind for b in seen} == {"causal", "full", "tree"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sharp_model_passes_too(layout: Layout) -> None:
    assert verify_scorer(Scorer(sharp()), layout) <= 1e-5


def test_a_model_that_yields_nan_is_found() -> None:
    policy = model(torch.float32)
    with torch.no_grad():
        policy.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="nan"):
        verify_scorer(Scorer(policy), "padded")
