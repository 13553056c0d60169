"""A folder gives its weights back; whatever is wrong with it is told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bvrank.errors import ConfigError, ModelError
from bvrank.models.corpus import Corpus
from bvrank.models.hf import HF
from bvrank.models.tiny import tiny_model, tiny_tokenizer

CORPUS = Corpus(lambda: [], Path("nowhere"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tiny_model(4, hidden_size=16, layers=1, heads=2, intermediate_size=32)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def test_weights_and_tokenizer_come_back_in_fp32(folder: Path) -> None:
    node = HF(str(folder), attention="eager")
    tokenizer = node.tokenizer(CORPUS)
    model = node.model(tokenizer, 0)
    saved = tiny_model(4, hidden_size=16, layers=1, heads=2, intermediate_size=32)
    for one, two in zip(model.parameters(), saved.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two.to(torch.bfloat16).float())
    assert model.config._attn_implementation == "eager"
    assert tokenizer.get_vocab() == tiny_tokenizer().get_vocab()


def test_code_and_pickles_of_a_folder_are_never_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"pickled weights alone \(pytorch_model.bin\).*safetensors"
    ):
        HF(str(folder)).model(tiny_tokenizer(), 0)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError):
        HF(str(folder)).model(tiny_tokenizer(), 0)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["one more"])
    with pytest.raises(ModelError, match=r"262 tokens but the embedding 261 rows.*resize"):
        HF(str(folder)).model(tokenizer, 0)


def test_a_folder_that_is_not_there_is_no_hub_id_either(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model folder.*model\.path"):
        HF(str(tmp_path / "gone")).tokenizer(CORPUS)
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        HF(str(tmp_path)).tokenizer(CORPUS)


def test_settings_that_cannot_be(folder: Path) -> None:
    with pytest.raises(ConfigError, match="path: must name"):
        HF(" ")
    with pytest.raises(ConfigError, match=r"revision: .*folder"):
        HF(str(folder), revision="main")


def test_a_folder_without_a_tokenizer_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds no tokenizer.*Copy tokenizer\.json"):
        HF(str(tmp_path)).tokenizer(CORPUS)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is an adapter.*model\.lora\.path"):
        HF(str(tmp_path)).tokenizer(CORPUS)
