"""Where reference log-probs come from moves no number of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bvrank.commands import references, train
from bvrank.engines.live import adapter_off
from bvrank.errors import ConfigError, Stopped
from bvrank.models.tiny import Teach, Tiny, tiny_tokenizer
from bvrank.records import TokenBatch
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.scorer import Scorer
from tests.commands.fast import go, metrics, on_lists, on_pairs, read
from tests.scoring.trees import mixed
from tests.small import model

LORA = ("model.lora.r=4", "optimizer.lr=0.01", "steps=6", "batch=4", "micro=2")
HELD = ("data.eval_fraction=0.3", "eval.every=2")


def adapted(dropout: float) -> Scorer:
    from bvrank.models.lora import LoRA

    return Scorer(LoRA(r=4, dropout=dropout).wrap(model(torch.float64), 0)).train()


def batch() -> TokenBatch:
    return Collator()([[Row(tree)] for tree in mixed(0)], ("full", "bare"))


def test_the_policy_without_its_adapter_is_the_model_it_came_from() -> None:
    scorer, truth = adapted(0.5), Scorer(model(torch.float64))
    with torch.no_grad():
        for name, weight in scorer.named_parameters():
            if "lora_B" in name:
                weight.normal_()
        moved = scorer(batch())
        trains = {n for n, p in scorer.named_parameters() if p.requires_grad}
        before = torch.random.get_rng_state()
        found = adapter_off(scorer)(batch())
        torch.testing.assert_close(found, truth(batch()), rtol=1e-12, atol=1e-12)
        assert not torch.allclose(found, moved)
    assert torch.equal(torch.random.get_rng_state(), before)  # no dropout was drawn
    assert scorer.training and all(m.training for m in scorer.modules())
    assert {n for n, p in scorer.named_parameters() if p.requires_grad} == trains != set()


@pytest.mark.parametrize(
    "words",
    [
        (), ("model.lora.dropout=0.3",), ("activation_checkpointing=true",),
        ("micro=null", "micro_tokens=60"),
        ("activation_checkpointing=selective", "model.lora.dropout=0.3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [on_pairs, on_lists])
def test_runs_are_alike_to_the_last_bits(make: Any, words: tuple[str, ...], tmp_path: Path) -> None:
    """fp64; the draws of dropout are those that they were with stored values."""
    lines = []
    for way in ("stored", "adapter_off", "live"):
        more = (*LORA, *HELD, *words, "precision=fp64", f"scoring.reference={way}")
        lines.append(metrics(go(make(tmp_path, *more))))
    for way in lines[1:]:
        for one, other in zip(lines[0], way, strict=True):
            assert other == pytest.approx(one, rel=1e-9, abs=1e-9)


def test_a_sweep_makes_one_reference_pass(tmp_path: Path) -> None:
    """Over objectives, learning rates and seeds, which draw the same rows in another order."""
    tokenizer = tiny_tokenizer()
    node = Tiny(Teach(steps=0), hidden_size=16, layers=1, heads=2, intermediate_size=32)
    for part in (tokenizer, node.model(tokenizer, 0)):
        part.save_pretrained(tmp_path / "policy")
    points = ("objective.beta=0.3", "optimizer.lr=0.001", "seed=1", "objective=bvpo", "micro=1")
    words = ("model=hf", f"model.path={tmp_path}/policy", "objective=dpo", "steps=3", "batch=2")
    told = []
    for point in ("seed=0", *points):
        run = go(on_pairs(tmp_path, *words, point, tiny=False))
        told.append(read(run / "manifest.json")["reference"])
    assert [t["computed"] for t in told] == [6, 0, 0, 0, 6, 0], told
    assert told[1]["from_store"] == 6
    assert len({t["digest"] for t in told[:3]}) == 1


def test_there_is_no_second_model_and_no_stored_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        references, "copy", SimpleNamespace(deepcopy=lambda _: pytest.fail("the model was copied"))
    )
    monkeypatch.setattr(references.assemble, "reference_of", lambda *_: pytest.fail("stored"))
    run = go(on_pairs(tmp_path, *LORA, "scoring.reference=adapter_off"))
    assert read(run / "manifest.json")["policy_against_reference"] <= 1e-5


def test_a_stopped_run_goes_on_as_if_it_had_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*LORA, "model.lora.dropout=0.3", "precision=fp64", "scoring.reference=adapter_off")
    whole = go(on_pairs(tmp_path, *words, "name=whole"))
    config = on_pairs(tmp_path, *words, "name=parts")
    asked: list[int] = []

    def stop(self: Any) -> bool:
        asked.append(1)
        return len(asked) == 5

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr("bvrank.commands.hooks.Stopping.__call__", stop)
        train.main(config)
    assert metrics(go({**config, "resume": True})) == metrics(whole)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is no adapter to switch off. Set model.lora.r=16, say, or"),
        (("model.lora.path=adapter",), "the reference is the adapter at model.lora.path as loaded"),
        (("model.lora.r=4", "engine=zero3", "engine.device=cpu"), "at stage 3 no rank has"),
    ],
)
def test_what_cannot_be_switched_off(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_text("{}")
    with pytest.raises(ConfigError) as caught:
        train.main(on_pairs(tmp_path, "scoring.reference=adapter_off", *words))
    assert caught.value.where == "scoring.reference"
    assert str(caught.value).startswith(f"scoring.reference: {said}")
    assert "scoring.reference=stored" in str(caught.value)
