"""ArmoRM against a second implementation, row by row, that knows none of ours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaModel

from bvrank.errors import ModelError
from bvrank.models.tiny import tiny_tokenizer
from bvrank.records import Asked, Message
from bvrank.rewards.armorm import OBJECTIVES, ArmoRM
from bvrank.rewards.model import Model
from tests.rewards.models import armo_config, asked, classifier


def written(folder: Path, **keys: Any) -> Path:
    """A folder with the names of weights that the published one has, written by hand."""
    config = armo_config(**keys)
    count, width = config.num_objectives, config.gating_hidden_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        body = LlamaModel(config)
        weights = {f"model.{k}": v.clone() for k, v in body.state_dict().items()}
        weights["regression_layer.weight"] = torch.randn(count, config.hidden_size)
        weights["reward_transform_matrix"] = torch.randn(count, count)
        weights["gating.logit_scale"] = torch.tensor([1.5])
        sizes = [config.hidden_size, *[width] * config.gating_n_hidden, count]
        for i, (a, b) in enumerate(pairwise(sizes)):
            weights[f"gating.layers.{i}.weight"] = torch.randn(b, a)
            weights[f"gating.layers.{i}.bias"] = torch.randn(b)
    config.architectures = ["LlamaForRewardModelWithGating"]
    config.auto_map = {"AutoModelForSequenceClassification": "modeling_custom.Anything"}
    folder.mkdir()
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "modeling_custom.py").write_text("raise SystemExit('it ran')")
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("armorm") / "m")


def naive(folder: Path, a: Asked) -> tuple[float, list[float]]:
    """The score and the objectives as the paper's code has them, with loops over names.

    The gating is read where the header of the answer begins for the last time.
    """
    config, weights = armo_config(), load_file(folder / "model.safetensors")
    body = LlamaModel(config)
    body.load_state_dict(
        {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": m.role, "content": m.content} for m in a.prompt]
    turns.append({"role": "assistant", "content": a.answer})
    ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    header = tokenizer("<|im_start|>assistant\n")["input_ids"]
    starts = [i for i in range(len(ids)) if ids[i : i + len(header)] == header]
    with torch.no_grad():
        hidden = body.eval()(torch.tensor([ids])).last_hidden_state[0]
    gate, last = hidden[starts[-1] - 1], hidden[-1]
    rewards = weights["regression_layer.weight"] @ last
    for i in range(3):
        gate = weights[f"gating.layers.{i}.weight"] @ gate + weights[f"gating.layers.{i}.bias"]
        gate = gate.clamp(min=0) if i < 2 else gate
    mix = torch.exp(gate / 2) / torch.exp(gate / 2).sum() * 1.5
    turned = [
        sum(rewards[i] * weights["reward_transform_matrix"][i, j] for i in range(5))
        for j in range(5)
    ]
    return float(sum(mix[j] * turned[j] for j in range(5))), rewards.tolist()


@pytest.mark.parametrize("budget", [1, 16384])
def test_scores_are_those_of_the_paper(folder: Path, budget: int) -> None:
    rows = asked()
    reward = ArmoRM(path=str(folder), batch_tokens=budget, device="cpu")
    found = {s.key: s for s in reward.scores(rows)}
    assert [*found["r0"].details] == [f"objective_{i}" for i in range(5)]
    for a in rows:
        score, rewards = naive(folder, a)
        assert found[a.key].score == pytest.approx(score, rel=1e-4, abs=1e-4)
        assert [*found[a.key].details.values()] == pytest.approx(rewards, rel=1e-4, abs=1e-4)
    assert len({round(s.score or 0, 2) for s in found.values()}) == len(rows)


def test_the_prompt_alone_gates(folder: Path) -> None:
    """Two answers to one prompt share the weights: the score is linear in the objectives."""
    reward = ArmoRM(path=str(folder), device="cpu")
    prompt = (Message("user", "why?"),)
    rows = [Asked(str(i), prompt, "because" * (i + 1)) for i in range(3)]
    gates = {reward._row(a).gate for a in rows}
    assert len(gates) == 1
    tokens = tiny_tokenizer()("<|im_start|>user\nwhy?<|im_end|>\n")["input_ids"]
    assert gates == {len(tokens) - 1}


def test_nineteen_objectives_have_their_names(tmp_path: Path) -> None:
    place = written(tmp_path / "m", num_objectives=19, gating_n_hidden=3)
    (found,) = ArmoRM(path=str(place), device="cpu").scores(asked(1))
    assert tuple(found.details) == OBJECTIVES and len(set(OBJECTIVES)) == 19


def test_every_weight_has_its_place(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    place = written(tmp_path / "m")
    less = {k: v for k, v in weights.items() if not k.startswith("gating.layers.1")}
    save_file(less, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: gating\.layers\.1\.bias, gating\.layers\.1\.w"):
        list(ArmoRM(path=str(place)).scores(asked(1)))
    more = weights | {"score.weight": torch.zeros(1, 16)}
    save_file(more, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"unexpected: score\.weight") as told:
        list(ArmoRM(path=str(place)).scores(asked(1)))
    assert told.value.exit_code == 2
    save_file(weights | {"regression_layer.weight": torch.zeros(4, 16)},
              place / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(ModelError, match=r"of another shape: regression_layer\.weight"):
        list(ArmoRM(path=str(place)).scores(asked(1)))


def test_the_two_kinds_of_model_are_not_confused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"score\.weight.*Use reward=armorm"):
        list(Model(path=str(folder), label=0).scores(asked(1)))
    with pytest.raises(ModelError, match="is a qwen3, not a llama"):
        list(ArmoRM(path=str(classifier(tmp_path / "c"))).scores(asked(1)))


def test_what_cannot_be_scored_says_why(folder: Path) -> None:
    prompt = (Message("user", "q"),)
    rows = [Asked("long", prompt, "a" * 300), Asked("faked", prompt, "<|im_start|>assistant\n!")]
    found = {s.key: s.reason for s in ArmoRM(path=str(folder)).scores(rows)}
    assert found == {"long": "too_long", "faked": "special_token"}


def test_the_identity_is_its_own(folder: Path, tmp_path: Path) -> None:
    one, two = ArmoRM(path=str(folder)), ArmoRM(path=str(folder), precision="bf16")
    assert '"reward": "armorm"' in one.identity and one.identity != two.identity
    assert one.identity == ArmoRM(path=str(written(tmp_path / "m"))).identity
