"""What a run saves loads elsewhere, and what was saved elsewhere trains: models, adapters,
tokenizers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from bvrank.data.templates import Template
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from tests.commands.fast import config, go, metrics, on_pairs, pair_rows, weights, write

SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}


def test_the_checkpoint_loads_with_transformers_and_is_the_policy(tmp_path: Path) -> None:
    """Its log-probs of a chosen side are those that the next step would log."""
    run = go(on_pairs(tmp_path, "objective=sft", "batch=6", "steps=1"))
    policy = run / "checkpoints" / "step-000001" / "policy"
    model = AutoModelForCausalLM.from_pretrained(policy)
    template = Template(AutoTokenizer.from_pretrained(policy))
    row = write(tmp_path / "one.jsonl", pair_rows(1))
    path = f"model.path={policy}"
    asked = config(
        tmp_path, "data=pairs", f"data.path={row}", "objective=sft", "model=hf", path, "batch=1",
        "data.max_length=200", tiny=False,
    )  # fmt: skip
    prompt = "<|im_start|>user\n0+1=?<|im_end|>\n<|im_start|>assistant\n"
    text = "<think>\n0 and 1\n</think>\n\n1<|im_end|>"
    ids = template.ids([prompt, prompt + text])
    with torch.no_grad():
        logps = model(torch.tensor([ids[1]])).logits[0].log_softmax(-1)
    start = len(ids[0])
    expected = sum(float(logps[i - 1, ids[1][i]]) for i in range(start, len(ids[1])))
    assert metrics(go(asked))[0]["logps/chosen"] == pytest.approx(expected, abs=1e-3)


def test_lora_trains_the_adapter_alone_and_peft_loads_it(tmp_path: Path) -> None:
    run = go(on_pairs(tmp_path, "objective=dpo", "model.lora.r=4"))
    saved = weights(run)
    assert saved and all("lora_" in name for name in saved)
    assert metrics(run)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    base = tmp_path / "base"
    tiny_model(0, **SHAPE).save_pretrained(base)
    adapter = run / "checkpoints" / "step-000002" / "policy"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    trained = [p for n, p in loaded.named_parameters() if "lora_B" in n]
    assert any(p.abs().max() > 0 for p in trained)


def test_peft_loads_the_saved_adapter_by_itself(tmp_path: Path) -> None:
    tiny_model(0, **SHAPE).save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    words = ("model=hf", f"model.path={tmp_path}/m", "objective=dpo", "model.lora.r=2")
    run = go(on_pairs(tmp_path, *words, tiny=False))
    policy = run / "checkpoints" / "step-000002" / "policy"
    assert AutoPeftModelForCausalLM.from_pretrained(policy).peft_config["default"].r == 2


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_the_reference_of_a_loaded_adapter_is_the_adapter(precision: str, tmp_path: Path) -> None:
    saved = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(3)
    get_peft_model(tiny_model(0, **SHAPE), saved).save_pretrained(tmp_path / "adapter")
    words = ("objective=dpo", f"precision={precision}")
    bare = metrics(go(on_pairs(tmp_path, *words)))[0]
    run = go(on_pairs(tmp_path, *words, f"model.lora.path={tmp_path}/adapter"))
    first = metrics(run)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(first["logps/chosen"] - bare["logps/chosen"]) > 0.01
    assert {n.rpartition("lora_")[2] for n in weights(run)} == {"A.weight", "B.weight"}


def test_a_folder_saved_by_transformers_trains_as_the_model_does(tmp_path: Path) -> None:
    tiny_model(0, **SHAPE).save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    words = ("model=hf", f"model.path={tmp_path}/m", "optimizer.lr=0.01", "objective=dpo")
    run = go(on_pairs(tmp_path, *words, tiny=False))
    assert metrics(run) == metrics(go(on_pairs(tmp_path, "objective=dpo")))
    eager = go(on_pairs(tmp_path, *words, "model.attention=eager", tiny=False))
    for a, b in zip(metrics(run), metrics(eager), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)


SCRATCH = (
    "model=scratch", "model.vocabulary=512", "model.shape.hidden_size=16", "optimizer.lr=0.01",
    "model.shape.intermediate_size=32", "model.shape.num_hidden_layers=1",
    "model.shape.num_attention_heads=2", "model.shape.head_dim=8",
)  # fmt: skip


def test_a_tokenizer_of_its_own_is_kept_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = go(on_pairs(tmp_path, *SCRATCH, "objective=bvpo", tiny=False))
    (kept,) = (tmp_path / "store" / "tokenizers").iterdir()
    monkeypatch.setattr("bvrank.models.scratch._trained", lambda *_: pytest.fail("trained again"))
    go(on_pairs(tmp_path, *SCRATCH, "objective=bvpo", "seed=1", tiny=False))
    policy = one / "checkpoints" / "step-000002" / "policy"
    tokenizers = [AutoTokenizer.from_pretrained(place) for place in (kept, policy)]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert AutoModelForCausalLM.from_pretrained(policy).config.hidden_size == 16
