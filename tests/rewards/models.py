"""Small reward models, made on the spot, and what is asked of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, Qwen3Config, Qwen3ForSequenceClassification

from bvrank.models.tiny import PAD, tiny_tokenizer
from bvrank.records import Asked, Message

SHAPE: dict[str, Any] = {
    "vocab_size": 261, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    "max_position_embeddings": 256, "initializer_range": 0.3,
}  # fmt: skip
PAD_ID = tiny_tokenizer().convert_tokens_to_ids(PAD)


def asked(count: int = 12, seed: int = 0) -> list[Asked]:
    """Questions and answers of many lengths."""
    draw = random.Random(seed)

    def words(most: int) -> str:
        return "".join(draw.choice("abc xyz.") for _ in range(draw.randint(1, most)))

    return [
        Asked(f"r{i}", (Message("system", words(9)), Message("user", words(30))), words(40))
        for i in range(count)
    ]


def classifier(folder: Path, labels: int = 1, pad: int | None = PAD_ID, seed: int = 0) -> Path:
    """A Qwen3 with a head of `labels`, and the byte tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = Qwen3Config(**SHAPE, num_labels=labels, pad_token_id=pad)
        Qwen3ForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def armo_config(**keys: Any) -> LlamaConfig:
    """The configuration of a small ArmoRM."""
    gating = {"gating_temperature": 2, "gating_hidden_dim": 12, "gating_n_hidden": 2}
    return LlamaConfig(**SHAPE, **{"num_objectives": 5, **gating, **keys})
