"""The policy and its optimizer as the settings ask for, and nothing but faster or smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.commands.compose import composed, frozen
from bvrank.commands.policy import optimizer_of, ready_model
from bvrank.commands.settings import TrainSettings, train_settings
from bvrank.errors import ConfigError, ModelError
from bvrank.models.lora import LoRA
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost, Layout
from bvrank.scoring.scorer import Scorer
from tests.scoring.trees import mixed
from tests.small import model

CPU = torch.device("cpu")


def asked(*words: str) -> TrainSettings:
    return train_settings(frozen(composed("train", words)))


def ready(*words: str, dtype: torch.dtype = torch.float64, lora: LoRA | None = None) -> Any:
    policy = ready_model(model(dtype), asked(*words), 0, lora or LoRA(), None)
    return policy.train()


def batch(layout: Layout = "forest") -> Any:
    return Collator(layout, Cost(1.0, 1.0, 30.0))([[Row(t)] for t in mixed(1)], ("full", "bare"))


def scored(policy: Any, layout: Layout = "forest") -> tuple[torch.Tensor, ...]:
    """Log-probs and the gradient of their weighted sum."""
    values = Scorer(policy)(batch(layout))
    weight = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view_as(values)
    weights = [p for p in policy.parameters() if p.requires_grad]
    return values, *torch.autograd.grad((values * weight).sum(), weights)


@pytest.mark.parametrize("layout", ["forest", "masked"])
@pytest.mark.parametrize("lora", [LoRA(), LoRA(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["true", "selective"])
def test_what_is_recomputed_changes_nothing(kind: str, lora: LoRA, layout: Layout) -> None:
    plain, again = (
        ready("precision=fp64", f"activation_checkpointing={word}", lora=lora)
        for word in ("false", kind)
    )
    torch.testing.assert_close(scored(again, layout), scored(plain, layout), rtol=1e-12, atol=1e-12)


class Kept:
    """Bytes of what autograd keeps for the backward pass, weights left out."""

    def __init__(self, policy: Any) -> None:
        self.weights = {p.untyped_storage().data_ptr() for p in policy.parameters()}
        self.seen: dict[int, int] = {}

    def pack(self, value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.seen[storage.data_ptr()] = storage.nbytes()
        return value


def kept(policy: Any) -> int:
    found, given = Kept(policy), batch()
    with torch.autograd.graph.saved_tensors_hooks(found.pack, lambda value: value):
        value = Scorer(policy)(given)
    assert value.requires_grad
    return sum(found.seen.values())


def test_what_is_recomputed_is_not_kept() -> None:
    sizes = {
        word: kept(ready(f"activation_checkpointing={word}", dtype=torch.float32))
        for word in ("false", "true")
    }
    assert sizes["true"] < 0.5 * sizes["false"]


def test_selective_runs_no_matrix_product_twice() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    flops = {}
    for word in ("false", "selective", "true"):
        policy, given = ready(f"activation_checkpointing={word}", dtype=torch.float32), batch()
        with FlopCounterMode(display=False) as counter:
            Scorer(policy)(given).sum().backward()
        flops[word] = counter.get_total_flops()
    assert flops["selective"] == flops["false"] < flops["true"]


@pytest.mark.filterwarnings("ignore")  # dynamo's own, about what it looks at
def test_compiled_layers_compute_the_same_under_the_same_names() -> None:
    plain, compiled = (
        ready(f"compile={word}", dtype=torch.float32, lora=LoRA(r=2)) for word in ("false", "true")
    )
    assert list(compiled.state_dict()) == list(plain.state_dict())
    one, other = scored(compiled), scored(plain)
    length = batch().labels.length.clamp(min=1)
    assert float(((one[0] - other[0]).abs() / length).max()) < 1e-5
    torch.testing.assert_close(one[1:], other[1:], rtol=1e-4, atol=1e-5)


def test_no_compiler_and_no_layers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def none() -> str:
        raise RuntimeError("no compiler")

    with pytest.raises(ConfigError, match="fp64"):
        asked("compile=true", "precision=fp64")
    for how in ("true", "selective"):  # transformers checkpoints inside what would be compiled
        with pytest.raises(ConfigError, match="compile: has no effect"):
            asked("compile=true", f"activation_checkpointing={how}")
    layers = "transformers.modeling_layers.GradientCheckpointingLayer"
    with monkeypatch.context() as patched:
        patched.setattr(layers, type("Other", (), {}))
        with pytest.raises(ModelError, match="no layers"):
            ready("compile=true", dtype=torch.float32)
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        ready("compile=true", dtype=torch.float32)


def stepped(policy: Any, *words: str) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    """Weights after 20 steps on one batch."""
    optimizer = optimizer_of(policy, asked("optimizer.lr=1e-2", *words), CPU)
    for _ in range(20):
        optimizer.zero_grad()
        (-Scorer(policy)(batch()).sum() / 100).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in policy.parameters()]), optimizer


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD", "Adagrad"])
def test_a_fused_optimizer_is_taken_and_steps_as_the_plain_one(name: str) -> None:
    fused, optimizer = stepped(ready("precision=fp64"), f"optimizer.name={name}")
    plain, other = stepped(
        ready("precision=fp64"), f"optimizer.name={name}", "++optimizer.options.fused=false"
    )
    assert optimizer.param_groups[0]["fused"] and not other.param_groups[0]["fused"]
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("option", ["foreach", "fused", "capturable", "differentiable"])
def test_a_way_to_compute_that_is_given_is_left_alone(option: str) -> None:
    policy = ready(dtype=torch.float32)
    words = f"++optimizer.options.{option}=false"
    assert not optimizer_of(policy, asked(words), CPU).param_groups[0].get("fused")


def test_an_optimizer_without_a_fused_form_is_as_it_is(tmp_path: Path) -> None:
    optimizer = optimizer_of(ready(dtype=torch.float32), asked("optimizer.name=Adamax"), CPU)
    assert "fused" not in optimizer.param_groups[0]
