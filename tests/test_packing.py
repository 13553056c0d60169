"""How a forest is computed follows from the model; what cannot be is told, never computed wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    NemotronConfig,
    PhimoeConfig,
    PreTrainedConfig,
    Qwen2MoeConfig,
)

from bvrank.errors import ModelError
from bvrank.scoring.scorer import Scorer, obstacle, packing
from bvrank.scoring.verify import verify_scorer
from tests.scoring.test_verify import sharp

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
                         "num_hidden_layers": 2, "num_attention_heads": 2,
                         "num_key_value_heads": 2}  # fmt: skip
MOE: dict[str, Any] = {**SMALL, "num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1,
                       "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
                       }  # fmt: skip


def made(config: PreTrainedConfig, attention: str = "sdpa") -> Any:
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (LlamaConfig(**SMALL), None),
        (LlamaConfig(**SMALL, attention_dropout=0.1), "dropout"),
        (GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2), "dropout"),
        (GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0.0), None),
        (DeepseekV3Config(**SMALL, q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=16,
                          qk_rope_head_dim=8, v_head_dim=16, n_routed_experts=2, n_group=1,
                          topk_group=1, num_experts_per_tok=1, moe_intermediate_size=16,
                          first_k_dense_replace=2), "not as wide"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_blocks(config: PreTrainedConfig, why: str | None) -> None:
    model = made(config)
    found = obstacle(model, CPU)
    assert found is None if why is None else why in (found or "")
    assert packing(model, "forest", CPU) == ("forest" if why is None else "masked")
    assert verify_scorer(Scorer(model), "forest") < 1e-4


def test_what_stands_in_the_way_of_flex_attention() -> None:
    model = made(LlamaConfig(**SMALL))
    assert obstacle(model, CUDA) is None and packing(model, "forest", CUDA) == "flex"
    assert "fp32" in (obstacle(made(LlamaConfig(**SMALL)).double(), CUDA) or "")
    narrow = made(LlamaConfig(**{**SMALL, "num_attention_heads": 4, "num_key_value_heads": 4}))
    assert "heads of 16" in (obstacle(narrow, CUDA) or "") and obstacle(narrow, CPU) is None
    assert "no FlexAttention on meta" in (obstacle(model, torch.device("meta")) or "")
    eager = made(LlamaConfig(**SMALL), "eager")
    assert "computed by eager" in (obstacle(eager, CPU) or "")
    for layout in ("masked", "padded"):
        assert packing(model, layout, CUDA) == layout  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [Qwen2MoeConfig(**MOE, use_sliding_window=True, sliding_window=64, max_window_layers=2),
     PhimoeConfig(**MOE, sliding_window=64)],
    ids=["qwen2_moe", "phimoe"],
)  # fmt: skip
def test_a_window_that_only_the_mask_says_is_refused_in_blocks(config: PreTrainedConfig) -> None:
    """Wider than the probe: no figure of it would show."""
    scorer = Scorer(made(config))
    with pytest.raises(ModelError, match=r"window of 64.*scoring\.layout=masked"):
        verify_scorer(scorer, "forest")
    assert verify_scorer(scorer, "masked") < 1e-4


def test_a_window_that_layers_ask_for_is_served() -> None:
    assert verify_scorer(Scorer(made(MistralConfig(**SMALL, sliding_window=64))), "forest") < 1e-4


def test_an_attention_that_asks_for_no_blocks_is_refused() -> None:
    scorer = Scorer(made(NemotronConfig(**SMALL)))
    with pytest.raises(ModelError, match=r"asks for no blocks.*scoring\.layout=masked"):
        verify_scorer(scorer, "forest")
    assert verify_scorer(scorer, "masked") < 1e-4


def test_layers_that_cut_by_places_in_a_row_follow_no_tree() -> None:
    config = GPTNeoConfig(vocab_size=64, hidden_size=32, num_layers=2, num_heads=2,
                          attention_types=[[["global", "local"], 1]], window_size=256)  # fmt: skip
    scorer = Scorer(made(config, "eager"))
    for layout in ("forest", "masked"):
        with pytest.raises(ModelError, match=r"type local.*scoring\.layout=padded"):
            verify_scorer(scorer, layout)  # type: ignore[arg-type]
    assert verify_scorer(scorer, "padded") < 1e-4


def test_the_small_model_of_other_tests_goes_in_blocks() -> None:
    assert packing(sharp(), "forest", CPU) == "forest"
