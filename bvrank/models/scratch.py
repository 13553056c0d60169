"""Any transformers shape from random weights, with a BPE trained on the data itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from bvrank.errors import ConfigError, DataError
from bvrank.models.corpus import Corpus, check_vocabulary
from bvrank.models.lora import LoRA
from bvrank.models.tiny import CHAT_TEMPLATE, END, PAD, START, THINK, UNTHINK
from bvrank.run import kept

SPECIAL = (START, END, PAD)
SAYS = {"vocab_size": "Set model.vocabulary.", "dtype": "Set precision."}
VERSION = 2  # of how a tokenizer is trained; a stored one of another version is not used


@dataclass(frozen=True)
class Scratch:
    """The node of model=scratch.

    `architecture` is a model type of transformers, `shape` keywords of its configuration,
    `vocabulary` the number of tokens, bytes and specials included, of a byte-level BPE.
    """

    architecture: str = "qwen3"
    vocabulary: int = 4096
    shape: Mapping[str, Any] = field(default_factory=dict)
    lora: LoRA = field(default_factory=LoRA)

    def __post_init__(self) -> None:
        check_vocabulary(self.vocabulary, "vocabulary")
        for name in ("vocab_size", "eos_token_id", "pad_token_id", "dtype"):
            if name in self.shape:
                raise ConfigError("is not for shape to say", where=f"shape.{name}",
                                  repair=SAYS.get(name, "The tokenizer says it."))  # fmt: skip

    def tokenizer(self, corpus: Corpus) -> PreTrainedTokenizerFast:
        """Trained on the corpus, or the one that an earlier run trained on the same texts."""
        key = hashlib.sha256(f"{VERSION}|{self.vocabulary}|{corpus.fingerprint()}".encode())
        folder = corpus.store / "tokenizers" / key.hexdigest()[:24]
        kept(folder, lambda: _trained(corpus, self.vocabulary).save_pretrained)
        loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
        return loaded

    def model(self, tokenizer: Any, seed: int) -> Any:
        """Random float32 weights drawn from `seed`. ConfigError for a shape that cannot be."""
        config = self._config(tokenizer)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
            with torch.no_grad():  # shapes that do not fit show in a forward pass only
                made.eval()(torch.zeros(1, 2, dtype=torch.int64))
            return made.train()
        except Exception as error:  # whatever the architecture's code trips over
            why = " ".join(str(error).split())
            raise ConfigError(
                f"{self.architecture} refuses it: {why}", where="model.shape"
            ) from error

    def _config(self, tokenizer: Any) -> Any:
        given = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id,
                 "pad_token_id": tokenizer.pad_token_id, "dtype": "float32"}  # fmt: skip
        try:
            known = AutoConfig.for_model(self.architecture).to_dict()
        except ValueError:
            raise ConfigError(
                f"transformers has no model type '{self.architecture}'",
                where="model.architecture", repair="For instance qwen3, llama or gemma2.",
            ) from None  # fmt: skip
        odd = [name for name in self.shape if name not in known]
        if odd:
            raise ConfigError(f"{self.architecture} has no such key", where=f"model.shape.{odd[0]}")
        try:
            return AutoConfig.for_model(self.architecture, **{**self.shape, **given})
        except Exception as error:  # transformers raises from several unrelated classes
            raise ConfigError(" ".join(str(error).split()), where="model.shape") from error


def _trained(corpus: Corpus, vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: encodes any text. Texts of special tokens are single tokens."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(corpus.texts(), trainer)
    if core.get_vocab_size() <= len(SPECIAL) + 256:
        raise DataError("too little text to train a tokenizer on", where="data")
    core.add_tokens([AddedToken(text, normalized=False) for text in (THINK, UNTHINK)])
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
