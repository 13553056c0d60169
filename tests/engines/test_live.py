"""The reference without a second model: the base below the adapter, and no trace of the pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.engines.deepspeed import DeepSpeed
from bvrank.engines.live import Live, base_below, second_model
from bvrank.engines.local import Local
from bvrank.models.lora import LoRA
from bvrank.ranks import ALONE
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost, Layout
from bvrank.scoring.scorer import Scorer
from tests.commands.test_policy import ready
from tests.scoring.trees import mixed
from tests.small import model

ENGINES = ("local", 0, 1, 2, 3)


def batches(layout: Layout = "forest") -> list[Any]:
    collate = Collator(layout, Cost(1.0, 0.0))
    return [collate([[Row(t)] for t in mixed(0)[i : i + 4]], ("full", "bare")) for i in (0, 4)]


def engine(kind: Any, policy: Any, precision: Any = "fp32") -> Any:
    """Around a policy that drops half of what goes into its adapter, in train mode."""
    scorer = Scorer(policy, chunk=16).train()
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    node: Any = Local("cpu") if kind == "local" else DeepSpeed(kind, "cpu")
    return node.start(
        scorer, optimizer, precision=precision, max_grad_norm=1.0, ranks=ALONE, forwards=2
    )


def adapted(dtype: torch.dtype, **more: Any) -> Any:
    return LoRA(r=2, dropout=0.5, **more).wrap(model(dtype), 0)


def trained(of: Any, steps: int, between: Any = lambda batch: None) -> list[float]:
    """The norms of some steps; `between` is called before the forward of each micro-batch."""
    norms = []
    for _ in range(steps):
        for batch in batches():
            between(batch)
            of.backward(-of.score(batch).sum() / 50)
        norms.append(of.step(1e-2))
    return norms


def bare(batch: Any, dtype: torch.dtype) -> Tensor:
    with torch.no_grad():
        values: Tensor = Scorer(model(dtype), chunk=16).eval()(batch)
    return values


@pytest.mark.filterwarnings("ignore:Model has")  # peft's, of weights that are tied
@pytest.mark.parametrize("layout", ["forest", "padded"])
@pytest.mark.parametrize("recompute", ["false", "true", "selective"])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "embed_tokens", "lm_head")])
def test_it_is_the_base_whatever_the_adapter_has_learnt(
    targets: Any, recompute: str, layout: Layout
) -> None:
    words = ("precision=fp64", f"activation_checkpointing={recompute}")
    policy = ready(*words, lora=LoRA(r=2, dropout=0.5, targets=targets))
    one = engine("local", policy, "fp64")
    trained(one, 3)
    for batch in batches(layout):
        found = base_below(one)(batch)
        torch.testing.assert_close(found, bare(batch, torch.float64), rtol=0, atol=1e-9)
        assert (one.score(batch) - found).abs().max() > 0.1


@pytest.mark.parametrize("kind", ENGINES)
def test_a_pass_between_micro_batches_leaves_no_trace(kind: Any) -> None:
    """The next draw of dropout, gradients that wait for their step, and what trains."""
    one, other = (engine(kind, adapted(torch.float32)) for _ in range(2))
    below = base_below(one)

    def checked(batch: Any) -> None:
        found = below(batch)
        assert not found.requires_grad
        torch.testing.assert_close(found, bare(batch, torch.float32), rtol=0, atol=1e-4)

    torch.manual_seed(1)
    norms = trained(one, 3, checked)
    torch.manual_seed(1)
    assert norms == trained(other, 3)
    assert not torch.equal(one.score(batches()[0]), other.score(batches()[0]))  # dropout is on
    one.module.eval(), other.module.eval()
    assert torch.equal(one.score(batches()[0]), other.score(batches()[0]))


@pytest.mark.parametrize("training", [True, False])
def test_mode_random_state_and_what_trains_are_as_they_were(training: bool) -> None:
    one = engine("local", adapted(torch.float32))
    one.module.train(training)
    one.backward(one.score(batches()[0]).sum())
    modes = [m.training for m in one.module.modules()]
    weights = [(p.requires_grad, None if p.grad is None else p.grad.clone())
               for p in one.module.parameters()]  # fmt: skip
    state = torch.get_rng_state()
    base_below(one)(batches()[1])
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in one.module.modules()]
    for (trains, gradient), p in zip(weights, one.module.parameters(), strict=True):
        assert p.requires_grad is trains and (p.grad is None) is (gradient is None)
        assert gradient is None or torch.equal(gradient, p.grad)  # type: ignore[arg-type]


def test_what_is_drawn_inside_is_not_drawn_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may draw without dropout; a pass that fails restores all the same."""
    one = engine("local", adapted(torch.float32))

    def fails(batch: Any) -> Tensor:
        torch.rand(3)
        assert not one.module.training and not torch.is_grad_enabled()
        raise KeyboardInterrupt

    state, values = torch.get_rng_state(), one.score(batches()[0])
    torch.set_rng_state(state)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(one, "score", fails)
        base_below(one)(batches()[0])
    assert torch.equal(state, torch.get_rng_state()) and one.module.training
    assert torch.equal(one.score(batches()[0]), values)


@pytest.mark.filterwarnings("ignore")  # dynamo's own, about what it looks at
def test_compiled_layers_follow_the_switch() -> None:
    lora = LoRA(r=2, dropout=0.5, targets=("q_proj",))
    policy = ready("compile=true", dtype=torch.float32, lora=lora)
    one = engine("local", policy)
    below = base_below(one)
    for _ in range(2):
        trained(one, 1, below)
        for batch in batches():
            length = batch.labels.length.clamp(min=1)
            gap = (below(batch) - bare(batch, torch.float32)).abs() / length
            assert float(gap.max()) < 1e-5


def test_a_batch_comes_with_its_reference_on_the_cpu() -> None:
    class Two:
        def step(self, number: int, views: tuple[str, ...]) -> Any:
            return iter(batches())

        once = step

    one = engine("local", adapted(torch.float64), "fp64")
    trained(one, 1)
    stream = Live(Two(), base_below(one))  # type: ignore[arg-type]
    for found, batch in zip(stream.step(1, ("full", "bare")), batches(), strict=True):
        reference = found.labels.reference
        assert reference.shape == batch.labels.valid.shape and reference.device.type == "cpu"
        torch.testing.assert_close(reference, bare(batch, torch.float64), rtol=0, atol=1e-9)


def dropping() -> Scorer:
    """In train mode, with attention that drops half."""
    policy = model(torch.float32)
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = 0.5
    return Scorer(policy, chunk=16).train()


def test_a_second_model_drops_nothing_and_never_trains() -> None:
    frozen = dropping()
    (batch, _) = batches("padded")
    assert not torch.equal(frozen(batch), frozen(batch))
    found = second_model(frozen, torch.device("cpu"), "fp32")(batch)
    torch.testing.assert_close(found, bare(batch, torch.float32), rtol=0, atol=1e-5)
    assert not found.requires_grad and not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_second_model_computes_in_the_precision_of_the_policy(precision: Any) -> None:
    """Bit for bit: before the first step it is the policy."""
    one = engine("local", model(torch.float32), precision)
    score = second_model(Scorer(model(torch.float32), chunk=16), torch.device("cpu"), precision)
    for batch in batches():
        assert torch.equal(score(batch), one.score(batch).detach())
        narrow = (score(batch) - bare(batch, torch.float32)).abs().max() > 1e-3
        assert bool(narrow) is (precision == "bf16")
