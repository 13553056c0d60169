"""What only an accelerator runs: FlexAttention's kernels against the oracles. Skipped elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bvrank.records import TokenBatch, TokenRows
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.compiling import compile_layers
from bvrank.scoring.scorer import Scorer, packing
from bvrank.scoring.verify import verify_scorer
from tests.scoring.test_attention import in_blocks, under_mask, with_gradients
from tests.scoring.test_flex import flex_rows
from tests.scoring.trees import VOCABULARY, deep_tree, mixed

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),  # of torch's compiler
]
WIDTH = 64
CUDA = torch.device("cuda")


def policy() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 256, "head_dim": WIDTH,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    made = Qwen3ForCausalLM(Qwen3Config(**shape)).cuda()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3 if weight.dim() == 2 else 1)
    return made


def attended(kernel: Any, seed: int, window: int | None, dtype: torch.dtype, rows: TokenRows
             ) -> tuple[Tensor, ...]:  # fmt: skip
    """Output and gradients, in fp64 on the CPU."""
    make = torch.Generator().manual_seed(seed)
    tokens = rows.ids.shape[1]
    drawn = [torch.randn(1, tokens, h, WIDTH, generator=make).bfloat16() for h in (4, 2, 2, 4)]
    *inputs, weight = (t.to(rows.ids.device, dtype).transpose(1, 2) for t in drawn)
    inputs = [t.requires_grad_() for t in inputs]
    found = with_gradients(kernel(rows, inputs, window), inputs, weight.transpose(1, 2))
    return tuple(t.double().cpu() for t in found)


def placed(rows: TokenRows) -> TokenRows:
    moved: Any = TokenBatch((rows,), rows, (), ()).to(CUDA)  # type: ignore[arg-type]
    return moved.rows[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("window", [None, 3, 40])
@pytest.mark.parametrize("seed", range(3))
def test_flex_is_attention_under_the_mask(seed: int, window: int | None) -> None:
    rows = flex_rows(seed, "mixed")
    truth = attended(under_mask, seed, window, torch.float64, rows)
    exact = attended(in_blocks, seed, window, torch.float32, placed(rows))
    torch.testing.assert_close(exact, truth, rtol=1e-4, atol=1e-4)
    masked = attended(under_mask, seed, window, torch.bfloat16, placed(rows))
    narrow = attended(in_blocks, seed, window, torch.bfloat16, placed(rows))
    for one, other, true in zip(narrow, masked, truth, strict=True):
        assert (one - true).norm() <= 1.2 * (other - true).norm()


def scored(made: Any, layout: Any, *, bf16: bool) -> tuple[Tensor, Tensor]:
    """Log-probs per token, and the gradient of their sum as one vector."""
    scorer = Scorer(made)
    trees = [*mixed(1), *(deep_tree(np.random.default_rng(i)) for i in range(2))]
    batch = Collator(layout)([[Row(t)] for t in trees], ("full", "bare")).to(CUDA)
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        values = scorer(batch)
    gradients = torch.autograd.grad(values.sum(), list(scorer.parameters()))
    per_token = values / batch.labels.length.clamp(min=1)
    return per_token.detach(), torch.cat([g.flatten().double() for g in gradients])


def test_a_scorer_in_fp32_is_the_padded_oracle() -> None:
    for one, other in zip(*(scored(policy(), x, bf16=False) for x in ("flex", "padded")),
                          strict=True):  # fmt: skip
        assert (one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("how", ["eager", "compiled", "recomputed"])
def test_a_scorer_in_bf16_is_within_the_noise_of_the_padded_oracle(how: str) -> None:
    """Both against fp32: packed rows are no further from it than rows of a branch each are."""
    truth, slope = scored(policy(), "padded", bf16=False)
    padded, padded_slope = scored(policy(), "padded", bf16=True)
    made = policy().train()
    if how == "compiled":
        compile_layers(made)
    if how == "recomputed":
        made.gradient_checkpointing_enable({"use_reentrant": False})
    packed, packed_slope = scored(made, "flex", bf16=True)
    assert (packed - truth).abs().max() <= 2 * (padded - truth).abs().max()
    assert (packed_slope - slope).norm() <= 1.5 * (padded_slope - slope).norm()


def test_the_probe_finds_flex_right() -> None:
    made = policy()
    assert packing(made, "forest", CUDA) == "flex"
    assert verify_scorer(Scorer(made), "forest") <= 1e-4
