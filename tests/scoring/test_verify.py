"""A scorer that does not compute what its model computes is found before it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bvrank.errors import ModelError
from bvrank.records import Block, TokenRows
from bvrank.scoring.layout import Layout
from bvrank.scoring.scorer import Scorer, cost_of
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
    with pytest.raises(ModelError, match=r"nats per token between scoring\.layout=masked"):
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
    with pytest.raises(ModelError, match=r"nats per token between scoring\.layout=forest"):
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


FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "openai-gpt": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "xglm": {"d_model": 16, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2},
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2},
    "falcon": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": True},
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "is_decoder": True},
}  # fmt: skip
REFUSED = ("mamba", "mpt", "falcon")  # by what their configuration says


def of(family: str, dtype: torch.dtype = torch.float32) -> Scorer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, vocab_size=99, **FAMILIES[family])
        made: Any = AutoModelForCausalLM.from_config(config).to(dtype)  # type: ignore[no-untyped-call]
    return Scorer(made)


@pytest.mark.parametrize("layout", ["forest", "masked"])
@pytest.mark.parametrize("family", ["bloom", "openai-gpt", "xlnet", *REFUSED])
def test_a_family_that_fails_in_a_forest_is_told_what_it_can(family: str, layout: Layout) -> None:
    scorer = of(family).train()
    with pytest.raises(ModelError) as caught:
        verify_scorer(scorer, layout)
    assert caught.value.repair == "Set scoring.layout=padded." and caught.value.where == "model"
    assert "\n" not in str(caught.value) and scorer.training
    assert family in REFUSED or f"{family} fails in scoring.layout={layout} (" in str(caught.value)
    verify_scorer(scorer, "padded")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_precision_that_the_family_cannot_is_told_with_one_that_it_can(layout: Layout) -> None:
    with pytest.raises(ModelError, match="xglm fails in its own forward pass") as caught:
        verify_scorer(of("xglm", torch.float64), layout)
    assert caught.value.repair == "Set precision=fp32."
    verify_scorer(of("xglm"), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_family_that_no_layout_fits_is_told_so(layout: Layout) -> None:
    with pytest.raises(ModelError, match="bert differ by") as caught:
        verify_scorer(of("bert"), layout)
    assert caught.value.repair == "No scoring.layout fits it: choose another model."


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_family_of_another_make_passes(layout: Layout) -> None:
    assert verify_scorer(of("gpt2"), layout) < 1e-5


def test_what_runs_out_of_memory_says_nothing_of_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    scorer = of("gpt2")
    monkeypatch.setattr(scorer.model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        verify_scorer(scorer, "padded")


def test_a_model_without_heads_has_a_cost() -> None:
    assert cost_of(of("mamba").model).linear > 1 and cost_of(of("mamba").model).attention == 0
