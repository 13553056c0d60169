"""Each stage on one process does what the local engine does; several ranks: test_ranks.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.engines.deepspeed import DeepSpeed, DeepSpeedEngine
from bvrank.engines.ds_keys import ELEMENTWISE, OURS
from bvrank.engines.local import Local, LocalEngine
from bvrank.errors import ConfigError, ModelError
from bvrank.models.lora import LoRA
from bvrank.ranks import ALONE
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost
from bvrank.scoring.scorer import Scorer
from tests.scoring.trees import mixed
from tests.small import model

BATCHES = [
    Collator("forest", Cost(1.0, 0.0))([[Row(t)] for t in mixed(0)[i : i + 4]], ("full", "bare"))
    for i in (0, 4)
]
STAGES = (0, 1, 2, 3)
WHOLE = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}  # gather every weight


OFFLOAD: dict[str, Any] = {"offload_optimizer": {"device": "cpu"}}


def engine(stage: int | None, *, limit: float = 1.0, lora: LoRA | None = None, seed: int = 0,
           precision: str = "fp32", forwards: int = 2, optimizer: Any = torch.optim.AdamW,
           offload: bool = False) -> Any:  # fmt: skip
    """The engine of `stage` (None: local) around a model of a few thousand weights."""
    policy = (lora or LoRA()).wrap(model(torch.float32, seed), seed)
    weights = [p for p in policy.parameters() if p.requires_grad]
    zero = {**(WHOLE["zero_optimization"] if stage == 3 else {}), **(OFFLOAD if offload else {})}
    node: Any = Local("cpu")
    if stage is not None:
        node = DeepSpeed(stage, "cpu", {"zero_optimization": zero})  # type: ignore[arg-type]
    scorer = Scorer(policy, chunk=16).train()
    options: dict[str, Any] = {"precision": precision, "max_grad_norm": limit}
    return node.start(
        scorer, optimizer(weights, lr=1e-2), ranks=ALONE, forwards=forwards, **options
    )


def weights(of: Any) -> Tensor:
    """All of them, also of an engine that holds them in parts."""
    whole = of.plain(lambda: model(torch.float32, 9))
    return torch.cat([p.detach().flatten() for p in whole.parameters()]).clone()


def train(of: Any, steps: int, rate: float = 1e-2) -> list[float]:
    out = []
    for _ in range(steps):
        for batch in BATCHES:
            of.backward(-of.score(batch).sum() / 50)
        out.append(of.step(rate))
    return out


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stage_trains_as_the_local_engine_does(stage: int, precision: str) -> None:
    one, other = engine(None, precision=precision), engine(stage, precision=precision)
    assert isinstance(one, LocalEngine) and isinstance(other, DeepSpeedEngine)
    if stage == 3:  # a head in parts goes through autograd: so does one with a hook
        one.module.model.lm_head.register_forward_hook(lambda *_: None)
    bound = 1e-6 if precision == "fp32" else 2e-2  # bf16 has 8 bits: other sums round elsewhere
    assert train(other, 5) == pytest.approx(train(one, 5), rel=bound)
    torch.testing.assert_close(weights(other), weights(one), rtol=0, atol=bound)
    torch.testing.assert_close(
        other.score(BATCHES[0]), one.score(BATCHES[0]), rtol=bound, atol=100 * bound
    )


@pytest.mark.parametrize("stage", STAGES)
def test_an_adapter_trains_as_with_the_local_engine(stage: int, tmp_path: Path) -> None:
    """From one saved folder of the adapter: stage 3 writes it from parts."""
    lora = LoRA(r=2, alpha=4.0)
    folders = []
    for kind in (None, stage):
        one = engine(kind, lora=lora, optimizer=torch.optim.SGD)  # Adam magnifies what is near 0
        train(one, 3)
        one.save(tmp_path / str(kind))
        folders.append(tmp_path / str(kind) / "policy" / "adapter_model.safetensors")
    from safetensors.torch import load_file

    first, second = map(load_file, folders)
    assert first.keys() == second.keys() and len(first) > 4
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_computes_narrow_and_keeps_fp32(stage: int) -> None:
    narrow, plain = engine(stage, precision="bf16"), engine(stage)
    gap = (narrow.score(BATCHES[0]) - plain.score(BATCHES[0])).detach().abs().max()
    assert 0 < float(gap) < 1 and narrow.score(BATCHES[0]).dtype == torch.float64
    train(narrow, 1)
    assert {p.dtype for p in narrow.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(stage: int, bad: float) -> None:
    one, other = engine(stage), engine(stage)
    train(one, 2), train(other, 2)
    before = weights(one)
    first, second = (one.score(batch).sum() / 50 for batch in BATCHES)
    one.backward(first)
    one.backward(second * bad)
    assert not math.isfinite(one.step(1e-2))
    assert torch.equal(weights(one), before)
    assert train(one, 1) == train(other, 1)  # moments are as they were, and nothing is left over
    assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("limit", [0.05, 1e9, math.inf])
def test_clipping_scales_the_gradient_to_the_limit(stage: int, limit: float) -> None:
    """With plain SGD the step is rate times the gradient, so its length tells."""
    one = engine(stage, limit=limit, optimizer=torch.optim.SGD)
    before = weights(one)
    (norm,) = train(one, 1, rate=1.0)
    assert norm > 0.05
    moved = float((weights(one) - before).double().norm())
    assert moved == pytest.approx(min(norm, limit), rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_what_was_discarded_is_forgotten(stage: int) -> None:
    """As after a stop between two micro-batches."""
    one, other = engine(stage), engine(stage)
    one.backward(one.score(BATCHES[0]).sum())
    one.discard()
    assert train(one, 2) == train(other, 2)
    assert torch.equal(weights(one), weights(other))


def test_a_step_with_a_missing_backward_is_a_bug_that_is_told() -> None:
    one = engine(1)
    one.backward(one.score(BATCHES[0]).sum())
    with pytest.raises(RuntimeError, match="1 backwards in a step of 2"):
        one.step(1e-2)


@pytest.mark.parametrize("lora", [LoRA(), LoRA(r=2, dropout=0.3)], ids=["full", "lora"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_was_saved_goes_on_bit_equal(stage: int, lora: LoRA, tmp_path: Path) -> None:
    one = engine(stage, lora=lora)
    torch.manual_seed(1)
    train(one, 2)
    one.save(tmp_path / "half")
    state = torch.get_rng_state()
    norms = train(one, 2)
    one.save(tmp_path / "whole")

    two = engine(stage, lora=lora, seed=0 if lora.on else 5)  # an adapter's base is where it was
    train(two, 1)
    two.load(tmp_path / "half")
    torch.set_rng_state(state)
    assert train(two, 2) == norms
    two.save(tmp_path / "again")
    for path in (tmp_path / "whole").rglob("*"):
        if path.suffix in (".safetensors", ".pt"):
            same = tmp_path / "again" / path.relative_to(tmp_path / "whole")
            assert same.read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("stage", STAGES)
def test_the_policy_is_the_local_engines_file(stage: int, tmp_path: Path) -> None:
    """One safetensors folder, the same bytes before the first step; loads with transformers."""
    from transformers import AutoModelForCausalLM

    local, other = engine(None), engine(stage)
    local.save(tmp_path / "local"), other.save(tmp_path / "other")
    files = {p.name for p in (tmp_path / "local" / "policy").iterdir()}
    assert files == {p.name for p in (tmp_path / "other" / "policy").iterdir()}
    a, b = (
        (tmp_path / n / "policy" / "model.safetensors").read_bytes() for n in ("local", "other")
    )
    assert a == b
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "other" / "policy")
    assert torch.equal(torch.cat([p.flatten() for p in loaded.parameters()]), weights(local))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_offloaded_states_train_alike_and_come_back(stage: int, tmp_path: Path) -> None:
    one, local = engine(stage, offload=True), engine(None)
    assert train(one, 2) == pytest.approx(train(local, 2), rel=1e-6)
    one.save(tmp_path)
    two = engine(stage, offload=True, seed=5)
    train(two, 1)
    two.load(tmp_path)
    assert train(two, 2) == train(one, 2)
    assert torch.equal(weights(one), weights(two))


def test_a_checkpoint_of_another_engine_is_refused(tmp_path: Path) -> None:
    engine(None).save(tmp_path)
    with pytest.raises(ModelError, match=r"written by 1 processes \(optimizer\.pt\).*processes"):
        engine(1).load(tmp_path)


def test_files_are_read_without_pickles(tmp_path: Path) -> None:
    """What torch.load(weights_only=True) refuses is refused here."""
    one = engine(1)
    one.save(tmp_path)
    torch.save({"optimizer": print}, tmp_path / "engine" / "rank-00000.pt")
    with pytest.raises(Exception, match="weights_only"):
        one.load(tmp_path)


@pytest.mark.parametrize(
    ("stage", "ds", "where", "what"),
    [
        (1, {"zero_optimisation": {}}, "ds.zero_optimisation", "Did you mean 'zero_optimization'"),
        (1, {"zero_optimization": {"reduce_bucket_sise": 5}}, "reduce_bucket_sise",
         "Did you mean 'reduce_bucket_size'"),
        (1, {"zero_optimization": {"stage": 3}}, "zero_optimization.stage", "engine's name"),
        (2, {"zero_optimization": {"stage3_max_live_parameters": 5}}, "stage3_max_live_parameters",
         "no effect at stage 2"),
        (0, {"zero_optimization": {"overlap_comm": True}}, "overlap_comm", "no effect at stage 0"),
        (1, {"zero_optimization": {"reduce_bucket_size": "many"}}, "reduce_bucket_size", "integer"),
        (3, {"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}, "offload_optimizer",
         "device: cpu"),
        (1, {"train_batch_size": 4}, "ds.train_batch_size", "Its name is batch"),
        (1, {"zero_optimization": {"max_live_parameters": 5}}, "max_live_parameters",
         "Its name is stage3_max_live_parameters"),
        (2, {"zero_optimization": {"elastic_checkpoint": True}}, "elastic_checkpoint",
         "not one that bvrank passes on"),
        (3, {"zero_optimization": {"allgather_bucket_size": 8}}, "allgather_bucket_size",
         "no effect at stage 3"),
        (1, {"communication_data_type": "bogus"}, "communication_data_type", "one of fp32"),
        (1, {"prescale_gradients": "x"}, "prescale_gradients", "true or false"),
        (1, {"gradient_predivide_factor": 2.0}, "gradient_predivide_factor", "no effect without"),
        (1, {"wall_clock": True}, "ds.wall_clock", "no such key"),
    ],
)  # fmt: skip
def test_keys_that_would_be_ignored_are_refused(
    stage: Any, ds: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        DeepSpeed(stage, "cpu", ds)
    assert caught.value.where.endswith(where) and what in str(caught.value)


@pytest.mark.parametrize("key", OURS)
def test_what_bvrank_sets_itself_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match="Its name is"):
        DeepSpeed(1, "cpu", {key: 1})


def test_keys_of_deepspeeds_own_reach_it() -> None:
    sizes = {"reduce_bucket_size": 1234, "allgather_bucket_size": 568}
    scorer = Scorer(model(torch.float32))
    options: dict[str, Any] = {"precision": "fp32", "max_grad_norm": 1.0, "ranks": ALONE,
                               "forwards": 1}  # fmt: skip
    optimizer = torch.optim.AdamW(scorer.parameters())
    with pytest.raises(ConfigError, match=r"engine\.ds: DeepSpeed refuses it \(pre-scale"):
        DeepSpeed(2, "cpu", {"prescale_gradients": True}).start(scorer, optimizer, **options)
    one = DeepSpeed(1, "cpu", {"zero_optimization": sizes, "prescale_gradients": True}).start(
        scorer, optimizer, **options
    )
    config = one.inner.engine._config
    assert config.zero_config.reduce_bucket_size == 1234
    assert config.zero_config.allgather_bucket_size == 568
    assert config.prescale_gradients is True


def test_fp64_and_a_missing_package_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"precision: DeepSpeed has no fp64.*engine=local"):
        DeepSpeed(1, "cpu").check(precision="fp64", processes=1, optimizer="AdamW")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'bvrank\[deepspeed\]'"):
        DeepSpeed(1, "cpu")


def test_an_optimizer_that_looks_at_whole_matrices_is_refused_where_they_are_cut() -> None:
    """Adafactor on a flat slice has nothing to factor: the trajectory would be another one."""
    for stage in (1, 2, 3):
        with pytest.raises(ConfigError, match=r"optimizer\.name: is not elementwise.*engine=zero0"):
            DeepSpeed(stage, "cpu").check(precision="fp32", processes=1, optimizer="Adafactor")  # type: ignore[arg-type]
    DeepSpeed(0, "cpu").check(precision="fp32", processes=1, optimizer="Adafactor")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_optimizer_trains_alike_on_flat_slices(name: str) -> None:
    kind = getattr(torch.optim, name)
    one, two = engine(None, optimizer=kind), engine(2, optimizer=kind)
    assert train(two, 3) == pytest.approx(train(one, 3), rel=1e-4)


def test_the_local_engine_is_of_one_process() -> None:
    with pytest.raises(ConfigError, match=r"engine: is of one process.*engine=zero0"):
        Local("cpu").check(precision="fp32", processes=2, optimizer="AdamW")


def test_offload_is_short_for_deepspeeds_own_keys() -> None:
    rests = {"device": "cpu"}
    assert DeepSpeed(2, "cpu", offload="optimizer").zero() == {"offload_optimizer": rests}
    both = {"offload_optimizer": rests, "offload_param": rests}
    assert DeepSpeed(3, "cpu", offload="all").zero() == both
    assert DeepSpeed(0, "cpu").zero() == {}


@pytest.mark.parametrize(
    ("stage", "offload", "ds", "said"),
    [
        (0, "optimizer", {}, "engine=zero1"), (2, "all", {}, "engine=zero3"),
        (3, "all", {"zero_optimization": OFFLOAD}, "as well"),
    ],
)  # fmt: skip
def test_an_offload_without_effect_or_said_twice_is_refused(
    stage: Any, offload: Any, ds: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        DeepSpeed(stage, "cpu", ds, offload)
    assert caught.value.where == "offload"


def test_a_compiled_layer_is_no_part_of_stage_3() -> None:
    words: dict[str, Any] = {"precision": "fp32", "processes": 1, "optimizer": "AdamW"}
    DeepSpeed(2, "cpu").check(**words, compiled=True)
    with pytest.raises(ConfigError, match="compiled"):
        DeepSpeed(3, "cpu").check(**words, compiled=True)
