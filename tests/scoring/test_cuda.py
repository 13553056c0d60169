"""What only an accelerator runs: flash attention by levels against the oracles. Skipped elsewhere."""

from __future__ import annotations

import pytest
import torch

from bvrank.records import TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.compiling import compile_layers
from bvrank.scoring.scorer import Scorer, packing
from bvrank.scoring.verify import NARROW_TOLERANCE, verify_scorer
from tests.scoring.test_attention import under_mask, with_gradients
from tests.scoring.test_varlen import levels_of
from tests.scoring.trees import VOCABULARY, deep_tree, mixed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HEADS, GROUPS, WIDTH = 4, 2, 64


def policy(layers: int = 3) -> torch.nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 256, "head_dim": 64,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    made = Qwen3ForCausalLM(Qwen3Config(**shape)).cuda()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3 if weight.dim() == 2 else 1)
    return made


@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_levels_are_as_near_to_the_truth_as_bf16_under_the_mask(seed: int, kind: str) -> None:
    from tests.scoring import test_attention

    rows = levels_of(seed, kind)
    make = torch.Generator().manual_seed(seed)
    tokens = rows.ids.shape[1]
    drawn = [torch.randn(1, tokens, h, WIDTH, generator=make) for h in (4, 2, 2, 4)]
    narrow = [t.bfloat16() for t in drawn]

    def of(kernel: object, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, ...]:
        moved = [t.to(device, dtype).transpose(1, 2) for t in narrow]
        inputs, weight = [t.requires_grad_() for t in moved[:3]], moved[3].transpose(1, 2)
        where = TokenBatch((rows,), None, (), ())  # type: ignore[arg-type]
        placed = where.rows[0] if device == "cpu" else _placed(where)
        return with_gradients(kernel(placed, inputs, None), inputs, weight)  # type: ignore[operator]

    truth = of(under_mask, torch.float64, "cpu")
    masked = of(under_mask, torch.bfloat16, "cuda")
    found = of(test_attention.in_blocks, torch.bfloat16, "cuda")
    for one, other, true in zip(found, masked, truth, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double().cpu() - true).norm() <= 1.2 * (other.double().cpu() - true).norm()


def _placed(batch: TokenBatch):  # type: ignore[no-untyped-def]
    from bvrank.records import _done

    return _done(batch.rows[0], "to", torch.device("cuda"))


def scored(scorer: Scorer, layout: str, bf16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs per token, and the gradient of their sum as one vector."""
    trees = [*mixed(1), *(deep_tree(__import__("numpy").random.default_rng(0)) for _ in range(2))]
    batch = Collator(layout)([[Row(t)] for t in trees], ("full", "bare")).to(torch.device("cuda"))
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        values = scorer(batch)
    gradients = torch.autograd.grad(values.sum(), list(scorer.parameters()))
    per_token = values / batch.labels.length.clamp(min=1)
    return per_token.detach(), torch.cat([g.flatten().double() for g in gradients])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_scorer_by_levels_is_within_the_noise_of_the_padded_oracle(compiled: bool) -> None:
    """bf16 against fp32: levels are no further from it than rows of a branch each are."""
    truth, slope = scored(Scorer(policy()), "padded", bf16=False)
    padded, padded_slope = scored(Scorer(policy()), "padded", bf16=True)
    made = policy()
    if compiled:
        compile_layers(made)
    levels, levels_slope = scored(Scorer(made), "levels", bf16=True)
    assert (levels - truth).abs().max() <= 2 * (padded - truth).abs().max()
    assert (levels_slope - slope).norm() <= 1.5 * (padded_slope - slope).norm()


def test_the_probe_knows_both_ways_of_a_forest() -> None:
    made = policy()
    device = torch.device("cuda", 0)
    assert packing(made, "forest", device) == "masked"
    assert packing(made, "forest", device, bf16=True) == "levels"
    assert verify_scorer(Scorer(made), "forest", bf16=True) <= NARROW_TOLERANCE
