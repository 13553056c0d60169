"""Adapters: nothing changes at first, only they train, and what is loaded is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from bvrank.errors import ConfigError, ModelError
from bvrank.models.lora import LoRA
from bvrank.models.tiny import tiny_model
from bvrank.scoring.scorer import causal_lm

IDS = torch.arange(12).view(1, -1)


def model() -> Any:
    return tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=32).eval()


def logits(found: Any) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = found(IDS).logits
        return values


def test_off_is_the_model_itself() -> None:
    bare = model()
    assert LoRA().wrap(bare, 0) is bare and not LoRA().on


def test_a_new_adapter_changes_nothing_and_trains_alone() -> None:
    state = torch.random.get_rng_state()
    wrapped = LoRA(r=2).wrap(model(), 3).eval()
    assert torch.equal(logits(wrapped), logits(model()))
    trained = [n for n, p in wrapped.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert torch.equal(state, torch.random.get_rng_state())
    assert causal_lm(wrapped) is wrapped.get_base_model()
    assert causal_lm(causal_lm(wrapped)) is wrapped.get_base_model()


def test_the_seed_draws_the_adapter() -> None:
    one, same, other = (
        torch.cat([p.flatten() for p in LoRA(r=2).wrap(model(), s).parameters() if p.requires_grad])
        for s in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_adapter_is_loaded_as_it_was(dtype: torch.dtype, tmp_path: Path) -> None:
    config = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
    saved = get_peft_model(model(), config).eval()
    saved.save_pretrained(tmp_path)
    loaded = LoRA(path=str(tmp_path)).wrap(model().to(dtype), 0).eval()
    torch.testing.assert_close(logits(loaded).float(), logits(saved))
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    assert any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"r": -1}, "r"),
        ({"r": 2, "alpha": 0.0}, "alpha"),
        ({"r": 2, "dropout": 1.0}, "dropout"),
        ({"alpha": 3.0}, "alpha"),
        ({"dropout": 0.1}, "dropout"),
        ({"targets": ("q_proj",)}, "targets"),
        ({"r": 2, "path": "somewhere"}, "r"),
        ({"path": "nowhere"}, "path"),
    ],
)
def test_settings_that_cannot_be_or_say_nothing(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LoRA(**settings)
    assert caught.value.where == where


def test_pickled_adapters_are_refused(tmp_path: Path) -> None:
    LoRA(r=2).wrap(model(), 0).save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        LoRA(path=str(tmp_path))


def test_names_of_no_module_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.lora: no adapter"):
        LoRA(r=2, targets=("nothing",)).wrap(model(), 0)
