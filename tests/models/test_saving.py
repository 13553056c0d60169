"""Save and load are twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.errors import ModelError
from bvrank.models.lora import LoRA
from bvrank.models.saving import load_weights, save_policy
from bvrank.models.tiny import tiny_model, tiny_tokenizer


def model(seed: int, lora: bool, layers: int = 1) -> Any:
    made = tiny_model(seed, hidden_size=16, layers=layers, heads=2, intermediate_size=32)
    return LoRA(r=2).wrap(made, seed) if lora else made


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_trains_comes_back_exactly(lora: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    one, two = model(1, lora).to(dtype), model(2, lora).to(dtype)
    one.bvrank_tokenizer = tiny_tokenizer()
    save_policy(one, tmp_path)
    load_weights(two, tmp_path)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert not a.requires_grad or (torch.equal(a, b) and a.dtype == b.dtype == dtype)
    assert (tmp_path / "tokenizer.json").is_file()
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("lora", [False, True])
def test_weights_of_another_shape_are_refused(lora: bool, tmp_path: Path) -> None:
    save_policy(model(1, lora, layers=2), tmp_path)
    with pytest.raises(ModelError, match="weights do not match"):
        load_weights(model(1, lora), tmp_path)
