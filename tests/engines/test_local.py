"""One optimiser step, and a state that comes back exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.engines.local import Local, LocalEngine, device
from bvrank.errors import ConfigError, ModelError
from bvrank.models.lora import LoRA
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.scorer import Scorer
from tests.scoring.trees import mixed
from tests.small import model

BATCH = Collator("forest", Cost(1.0, 0.0))([[Row(t)] for t in mixed(0)[:4]], ("full", "bare"))


def engine(*, limit: float = 1.0, lora: LoRA | None = None, precision: str = "fp32",
           optimizer: Any = torch.optim.AdamW, seed: int = 0) -> LocalEngine:  # fmt: skip
    dtype = torch.float64 if precision == "fp64" else torch.float32
    policy = (lora or LoRA()).wrap(model(dtype, seed), seed)
    weights = [p for p in policy.parameters() if p.requires_grad]
    scorer = Scorer(policy, chunk=16).train()
    return Local("cpu").start(
        scorer, optimizer(weights, lr=1e-2), precision=precision, max_grad_norm=limit  # type: ignore[arg-type]
    )  # fmt: skip


def weights(of: LocalEngine) -> Tensor:
    return torch.cat([p.detach().flatten() for p in of.module.parameters()])


def moments(of: LocalEngine) -> list[Tensor]:
    return [v for s in of.optimizer.state_dict()["state"].values() for v in s.values()]


def train(of: LocalEngine, steps: int, rate: float = 1e-2) -> list[float]:
    out = []
    for _ in range(steps):
        of.backward(-of.score(BATCH).sum())
        out.append(of.step(rate))
    return out


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    one = engine()
    train(one, 2)
    before, earlier = weights(one), [m.clone() for m in moments(one)]
    one.backward(-one.score(BATCH).sum())
    next(one.module.parameters()).grad[0, 0] = bad  # type: ignore[index]
    assert not math.isfinite(one.step(1e-2))
    assert torch.equal(weights(one), before)
    assert all(map(torch.equal, moments(one), earlier)) and earlier
    assert all(p.grad is None for p in one.module.parameters())


@pytest.mark.parametrize("limit", [0.5, 1e9, math.inf])
def test_clipping_scales_the_gradient_to_the_limit(limit: float) -> None:
    """With plain SGD the step is rate times the gradient, so its length tells."""
    one = engine(limit=limit, optimizer=torch.optim.SGD, precision="fp64")
    before = weights(one)
    (norm,) = train(one, 1, rate=1.0)
    assert norm > 1
    moved = float((weights(one) - before).norm())
    assert moved == pytest.approx(min(norm, limit), rel=1e-5)


def test_the_norm_is_that_before_clipping_over_all_weights() -> None:
    one, two = engine(limit=0.1, precision="fp64"), engine(precision="fp64")
    loss = -two.score(BATCH).sum()
    grads = torch.autograd.grad(loss, list(two.module.parameters()))
    expected = math.sqrt(sum(float((g**2).sum()) for g in grads))
    assert train(one, 1)[0] == pytest.approx(expected, rel=1e-12)


def test_gradients_add_up_until_the_step_or_are_discarded() -> None:
    once, twice, none = (engine(optimizer=torch.optim.SGD, limit=math.inf) for _ in range(3))
    (norm,) = train(once, 1)
    for _ in range(2):
        twice.backward(-twice.score(BATCH).sum() / 2)
    assert twice.step(1e-2) == pytest.approx(norm, rel=1e-5)
    torch.testing.assert_close(weights(twice), weights(once))
    before = weights(none)
    none.backward(-none.score(BATCH).sum())
    none.discard()
    assert none.step(1e-2) == 0 and torch.equal(weights(none), before)


def test_the_rate_is_the_steps_own() -> None:
    short, long = (engine(optimizer=torch.optim.SGD) for _ in range(2))
    before = weights(short)
    train(short, 1, 1e-3), train(long, 1, 1e-2)
    torch.testing.assert_close(
        (weights(long) - before) / 10, weights(short) - before, rtol=1e-3, atol=1e-7
    )


def test_a_batch_without_any_wanted_view_can_be_differentiated() -> None:
    one = engine()
    empty = Collator("forest")([[Row(mixed(0)[0])]], ("elsewhere",))
    before = weights(one)
    one.backward(one.score(empty).sum())
    assert one.step(1e-2) == 0 and torch.equal(weights(one), before)


def test_bf16_computes_narrow_and_keeps_fp32() -> None:
    narrow, plain = engine(precision="bf16"), engine()
    gap = (narrow.score(BATCH) - plain.score(BATCH)).detach().abs().max()
    assert 0 < float(gap) < 1 and narrow.score(BATCH).dtype == torch.float64
    train(narrow, 1)
    assert {p.dtype for p in narrow.module.parameters()} == {torch.float32}


ADAPTER = LoRA(r=2, dropout=0.3)


@pytest.mark.parametrize("lora", [LoRA(), ADAPTER], ids=["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
def test_what_was_saved_goes_on_bit_equal(lora: LoRA, precision: str, tmp_path: Path) -> None:
    one = engine(lora=lora, precision=precision)
    torch.manual_seed(1)
    train(one, 2)
    one.save(tmp_path)
    state = torch.get_rng_state()
    train(one, 2)

    two = engine(lora=lora, precision=precision)
    if lora.on:  # the adapter alone is saved: the base comes from where it came from
        train(two, 1)
    else:
        two = engine(precision=precision, seed=5)
    two.load(tmp_path)
    torch.set_rng_state(state)
    train(two, 2)
    assert torch.equal(weights(one), weights(two))
    assert all(map(torch.equal, moments(one), moments(two))) and moments(one)


def test_dropout_of_the_adapter_is_on_in_training_alone() -> None:
    one = engine(lora=ADAPTER)
    train(one, 2)
    assert not torch.equal(one.score(BATCH), one.score(BATCH))
    one.module.eval()
    assert torch.equal(one.score(BATCH), one.score(BATCH))


def test_only_the_adapter_moves() -> None:
    one = engine(lora=ADAPTER)
    named = {n: p.detach().clone() for n, p in one.module.named_parameters()}
    train(one, 2)
    moved = {n for n, p in one.module.named_parameters() if not torch.equal(p, named[n])}
    assert moved and all("lora_" in n for n in moved)


def test_the_policy_loads_with_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    one = engine()
    train(one, 1)
    one.save(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    for name, value in one.module.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    engine(lora=ADAPTER).save(tmp_path)
    with pytest.raises(ModelError, match="do not match the model"):
        engine(lora=LoRA(r=2, targets=("q_proj",))).load(tmp_path)


@pytest.mark.parametrize("name", ["cuda:97", "nonsense", "", "xpu:3"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such device here: .*Use auto") as caught:
        device(name)
    assert caught.value.where == "device"


def test_auto_is_what_there_is() -> None:
    there = torch.accelerator.is_available()
    assert (device("auto").type == "cpu") is not there
    assert device("cpu") == torch.device("cpu")
