"""A tokenizer trained on the data encodes any text; the model is a function of its seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bvrank.models.scratch as scratch
from bvrank.errors import ConfigError, DataError, RunError
from bvrank.models.corpus import Corpus
from bvrank.models.scratch import Scratch
from bvrank.models.tiny import THINK, UNTHINK

TEXTS = [f"the {word} of the {other}" for word in ("sum", "end") for other in ("day", "list")] * 9
SHAPE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip
TOKENIZER = scratch._trained(Corpus(lambda: TEXTS, Path("any")), 512)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_tags_are_single_tokens_and_the_size_is_kept() -> None:
    assert all(len(TOKENIZER(text)["input_ids"]) == 1 for text in (THINK, UNTHINK, "<|im_end|>"))
    assert len(TOKENIZER) <= 512
    assert len(TOKENIZER("the sum of the day")["input_ids"]) < 10


def test_one_corpus_trains_one_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(lambda: TEXTS, tmp_path)
    first = Scratch(vocabulary=512).tokenizer(corpus)
    with monkeypatch.context() as patched:
        patched.setattr(scratch, "_trained", lambda *_: pytest.fail("trained again"))
        again = Scratch(vocabulary=512).tokenizer(corpus)
    assert first.get_vocab() == again.get_vocab()
    Scratch(vocabulary=600).tokenizer(corpus)
    Scratch(vocabulary=512).tokenizer(Corpus(lambda: TEXTS[1:], tmp_path))
    assert len(list((tmp_path / "tokenizers").iterdir())) == 3


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def save_pretrained(self, folder: Path) -> None:
            (folder / "tokenizer.json").write_text("{")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch, "_trained", lambda *_: Full())
    with pytest.raises(RunError, match="No space"):
        Scratch().tokenizer(Corpus(lambda: TEXTS, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_too_little_text_is_told() -> None:
    with pytest.raises(DataError, match="too little text"):
        scratch._trained(Corpus(lambda: [], Path("any")), 512)


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_weights_follow_the_seed(architecture: str) -> None:
    shape = {k: v for k, v in SHAPE.items() if k != "head_dim" or architecture == "qwen3"}
    node = Scratch(architecture, 512, shape)
    state = torch.random.get_rng_state()
    one, same, other = (node.model(TOKENIZER, s) for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.config.model_type == architecture and one.dtype == torch.float32
    assert one.get_input_embeddings().weight.shape == (len(TOKENIZER), 16)


@pytest.mark.parametrize(
    ("node", "where"),
    [
        (Scratch("qwen33"), "model.architecture"),
        (Scratch(shape={"hidden": 3}), "model.shape.hidden"),
        (Scratch(shape={**SHAPE, "num_hidden_layers": "many"}), "model.shape"),
        (Scratch(shape={**SHAPE, "hidden_size": -4}), "model.shape"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(node: Scratch, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        node.model(TOKENIZER, 0)
    assert str(caught.value.where).startswith(where)


@pytest.mark.parametrize("vocabulary", [0, 511, 2_000_000])
def test_a_vocabulary_that_cannot_be_is_refused(vocabulary: int) -> None:
    settings: dict[str, Any] = {"vocabulary": vocabulary}
    with pytest.raises(ConfigError, match="512"):
        Scratch(**settings)


@pytest.mark.parametrize("key", ["vocab_size", "eos_token_id", "pad_token_id", "dtype"])
def test_what_the_tokenizer_says_is_not_taken_from_the_shape(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Scratch(shape={key: 600})
    assert caught.value.where == f"shape.{key}"
    assert key != "vocab_size" or caught.value.repair == "Set model.vocabulary."
