"""The packed forest equals the padded layout equals separate sequences, gradients included."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bvrank.errors import ModelError
from bvrank.records import Branch, Encoded, Segment, TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.precision import exact, recompute_contexts
from bvrank.scoring.scorer import Scorer, cost_of, sliding_window
from tests.scoring.trees import VOCABULARY, mixed

SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 512, "attn_implementation": "sdpa", "pad_token_id": 0,
}  # fmt: skip
FREE = Cost(linear=1.0, attention=0.0)  # every tree that shares a token is packed
DEAR = Cost(linear=0.0, attention=1.0, call=0.0)  # attention alone counts: long trees stand apart


def qwen3(dtype: torch.dtype, **changes: object) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**{**SHAPE, **changes})).to(dtype)


def gemma2(dtype: torch.dtype) -> Gemma2ForCausalLM:
    torch.manual_seed(0)
    config = Gemma2Config(**{**SHAPE, "sliding_window": 8, "final_logit_softcapping": 5.0,
                             "attn_implementation": "eager"})  # fmt: skip
    return Gemma2ForCausalLM(config).to(dtype)


def mistral(dtype: torch.dtype) -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**{**SHAPE, "sliding_window": 8})).to(dtype)


def gemma3(dtype: torch.dtype) -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    config = Gemma3TextConfig(**{**SHAPE, "sliding_window": 8, "num_hidden_layers": 3,
                                 "layer_types": ["sliding_attention", "full_attention",
                                                 "sliding_attention"]})  # fmt: skip
    return Gemma3ForCausalLM(config).to(dtype)


def qwen2(dtype: torch.dtype) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(**{**SHAPE, "sliding_window": 5, "use_sliding_window": True,
                            "max_window_layers": 1})  # fmt: skip
    return Qwen2ForCausalLM(config).to(dtype)


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).to(dtype)


def phi3(dtype: torch.dtype) -> Phi3ForCausalLM:
    torch.manual_seed(0)
    return Phi3ForCausalLM(Phi3Config(**{**SHAPE, "sliding_window": 6})).to(dtype)


def batch_of(trees: list[Encoded], layout: str, cost: Cost, unshifted: bool = False) -> TokenBatch:
    collate = Collator(layout, cost, unshifted)  # type: ignore[arg-type]
    return collate([[Row(t)] for t in trees], ("full", "bare"))


def separate(model: torch.nn.Module, trees: list[Encoded]) -> torch.Tensor:
    """Each branch as a sequence of its own through the whole model: [V,B,K]."""
    out = torch.zeros_like(batch_of(trees, "padded", FREE).labels.policy)
    for b, tree in enumerate(trees):
        paths, seen = tree.paths(), {"full": 0, "bare": 0}
        for branch in tree.branches:
            path = max((paths[s] for s in branch.segments), key=len)
            ids = torch.cat([torch.tensor(tree.segments[s].ids) for s in path]).long()
            marks = [torch.full((len(tree.segments[s].ids),), s in branch.segments) for s in path]
            with exact(model.dtype):
                logps = model(ids[None, :-1]).logits[0].log_softmax(-1)
            mine = logps.gather(-1, ids[1:, None])[:, 0][torch.cat(marks)[1:]]
            at = (0 if branch.view == "full" else 1, b, seen[branch.view])
            out = out.index_put([torch.tensor(i) for i in at], mine.double().sum())
            seen[branch.view] += 1
    return out


def gradient(value: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    weight = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    grads = torch.autograd.grad((value * weight).sum(), list(model.parameters()))
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("make", [qwen3, gemma2, gemma3, mistral, qwen2, llama, phi3])
@pytest.mark.parametrize("cost", [FREE, DEAR, Cost(1e6, 1e3)])
def test_layouts_agree_in_fp64(make: object, cost: Cost) -> None:
    model = make(torch.float64)  # type: ignore[operator]
    trees = mixed(0)
    oracle = separate(model, trees)
    truth = gradient(oracle, model)
    blocks = model.config._attn_implementation == "sdpa"
    for layout in ("forest", "masked", "padded") if blocks else ("masked", "padded"):
        values = Scorer(model, chunk=50)(batch_of(trees, layout, cost))
        torch.testing.assert_close(values, oracle, rtol=0, atol=1e-9)
        torch.testing.assert_close(gradient(values, model), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_layouts_agree_in_fp32_per_token(seed: int) -> None:
    model = qwen3(torch.float32)
    trees = mixed(seed)
    forest, padded = (batch_of(trees, layout, FREE) for layout in ("forest", "padded"))
    length = forest.labels.length.clamp(min=1)
    gap = (Scorer(model)(forest) - Scorer(model)(padded)).detach().abs() / length
    assert float(gap.max()) < 1e-5
    apart = (Scorer(model)(forest) - separate(model, trees)).detach().abs() / length
    assert float(apart.max()) < 1e-5


def test_eager_attention_agrees_too() -> None:
    model = qwen3(torch.float64, attn_implementation="eager")
    trees = mixed(1)
    values = Scorer(model)(batch_of(trees, "masked", FREE))
    torch.testing.assert_close(values, separate(model, trees), rtol=0, atol=1e-9)
    with pytest.raises(ModelError, match="masked"):
        Scorer(model)(batch_of(trees, "forest", FREE))


def test_the_forest_is_really_packed() -> None:
    trees = mixed(0)
    padded, forest, masked = (batch_of(trees, x, FREE) for x in ("padded", "forest", "masked"))
    assert forest.rows[0].ids.shape == (1, forest.tokens) and forest.tokens < padded.tokens
    packed = masked.rows[0]
    assert packed.sees is not None and packed.ids.shape[0] < len(trees) - 1


def test_batch_mates_and_order_do_not_matter() -> None:
    model, trees = qwen3(torch.float64), mixed(2)
    together = Scorer(model)(batch_of(trees, "forest", FREE))
    turned = Scorer(model)(batch_of(trees[::-1], "forest", FREE)).flip(1)
    torch.testing.assert_close(turned, together, rtol=0, atol=1e-9)
    alone = Scorer(model)(batch_of(trees[:1], "forest", FREE))
    torch.testing.assert_close(together[:, :1, : alone.shape[-1]], alone, rtol=0, atol=1e-9)


def test_activation_checkpointing_changes_nothing() -> None:
    model, trees = qwen3(torch.float64), mixed(3)
    plain = gradient(Scorer(model)(batch_of(trees, "forest", FREE)), model)
    model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": recompute_contexts})
    model.train()
    again = gradient(Scorer(model)(batch_of(trees, "forest", FREE)), model)
    torch.testing.assert_close(again, plain, rtol=1e-12, atol=1e-12)


def test_layers_that_cannot_follow_a_tree_are_refused() -> None:
    config = Qwen3Config(**SHAPE)
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match=r"linear_attention.*scoring\.layout=padded"):
        sliding_window(config)


def test_cost_counts_the_body_only() -> None:
    model = qwen3(torch.float32)
    body = sum(
        p.numel() for n, p in model.named_parameters() if "embed" not in n and "head" not in n
    )
    assert cost_of(model).attention == 2 * 4 * 8 * 2
    assert body <= cost_of(model).linear <= body + VOCABULARY * 32


class Sure(torch.nn.Module):
    """Gives the token `ahead` places on (0: the one it reads) a logit of 40, all others 0, in
    sequences that count up."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.embedding = torch.nn.Embedding(VOCABULARY, VOCABULARY)
        self.head = torch.nn.Identity()
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())

    def base_model(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        told = torch.nn.functional.one_hot(input_ids + self.ahead, VOCABULARY)
        return SimpleNamespace(last_hidden_state=40.0 * told)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head


@pytest.mark.parametrize(("unshifted", "perfect", "echo"), [(False, 0, -40), (True, -40, 0)])
def test_unshifted_prefers_an_echo_to_a_perfect_model(
    unshifted: bool, perfect: float, echo: float
) -> None:
    """Per scored token: what the official IRPO code trains on."""
    ids = [np.arange(a, b, dtype=np.int32) for a, b in ((3, 8), (8, 13))]
    tree = Encoded("t", (Segment(-1, ids[0]), Segment(0, ids[1])), (Branch("full", (1,), 1, 1, 0),))
    batch = batch_of([tree], "padded", FREE, unshifted)
    for ahead, expected in ((1, perfect), (0, echo)):
        found = Scorer(Sure(ahead))(batch)[0, 0, 0].item() / 5
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_unshifted_is_the_same_in_every_layout_and_reads_where_the_token_stands(seed: int) -> None:
    model, trees = qwen3(torch.float64), mixed(seed)
    forest, padded = (
        Scorer(model)(batch_of(trees, layout, FREE, unshifted=True))
        for layout in ("forest", "padded")
    )
    torch.testing.assert_close(forest, padded, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        gradient(forest, model), gradient(padded, model), rtol=1e-8, atol=1e-10
    )
    row = batch_of(trees, "padded", FREE, unshifted=True).rows[0]
    assert torch.equal(row.ids.flatten()[row.source], row.target)


@pytest.mark.parametrize("parts", [(), (1,), (4, 3), (40, 50)])
def test_rows_go_through_the_head_in_as_many_parts_as_are_asked_for(parts: tuple[int, ...]) -> None:
    """What ranks agree on, so that all gather a divided head equally often."""
    scorer, calls = Scorer(qwen3(torch.float64), chunk=1000), list[int]()
    batch = Collator("masked", DEAR)([[Row(t)] for t in mixed(0)[:4]], ("full", "bare"))
    plain = scorer(batch)
    scorer.model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    assert len(batch.rows) >= 2
    with torch.no_grad():
        torch.testing.assert_close(scorer(batch, parts), plain, rtol=1e-12, atol=1e-12)
    wanted = [max(p, 1) for p in parts[: len(batch.rows)]]
    assert len(calls) == sum(wanted) + len(batch.rows) - len(wanted)


def test_without_chunks_torch_func_differentiates_what_autograd_does() -> None:
    model = qwen3(torch.float64)
    model.set_attn_implementation("eager")
    batch = batch_of(mixed(0)[:3], "masked", FREE)
    plain, whole = Scorer(model), Scorer(model, chunk=None)
    torch.testing.assert_close(whole(batch), plain(batch), rtol=1e-12, atol=1e-12)
    weights = {name: p.detach() for name, p in whole.named_parameters()}

    def total(own: dict[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = functional_call(whole, own, (batch,))
        return found.sum()

    mapped = vmap(grad(total))({name: torch.stack([w, w]) for name, w in weights.items()})
    told = torch.autograd.grad(plain(batch).sum(), list(plain.parameters()))
    for mine, slope in zip(mapped.values(), told, strict=True):
        torch.testing.assert_close(mine[1], slope, rtol=1e-8, atol=1e-10)
