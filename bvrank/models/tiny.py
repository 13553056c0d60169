"""The tiny reasoning model: a Qwen3 of under a million weights and its byte-level tokenizer.

Both are made in memory, without a network or a file. A completion reads

    thinking on    <think>\\n{trace}\\n</think>\\n\\n{answer}<|im_end|>
    thinking off   {answer}<|im_end|>        (the prompt ends with the closed, empty think block)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from bvrank.errors import ConfigError
from bvrank.models.corpus import Corpus
from bvrank.models.lora import LoRA

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK, UNTHINK = "<think>", "</think>"
POSITIONS = 32_768

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role not in ('system', 'user', 'assistant') -%}
{{- raise_exception("role '" + message.role + "': choose system, user or assistant") -}}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and not enable_thinking -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}
"""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per UTF-8 byte (id = byte value), then five special tokens: 261 in all.

    Any text decodes to itself. The text of a special token, in user text too, becomes that token.
    `<think>` and `</think>` survive skip_special_tokens, as they do in Qwen3.
    """
    core = Tokenizer(BPE(vocab={char: byte for byte, char in enumerate(_byte_chars())}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True) for text in (START, END, PAD)])
    core.add_tokens([AddedToken(text, normalized=False) for text in (THINK, UNTHINK)])
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(
    seed: int,
    *,
    hidden_size: int = 128,
    layers: int = 3,
    heads: int = 4,
    intermediate_size: int = 256,
) -> Qwen3ForCausalLM:
    """Random float32 weights drawn from `seed`; the global random state is left as it was.

    heads must divide hidden_size, and hidden_size / heads must be even (rotary positions).
    """
    if hidden_size % (2 * heads):
        raise ValueError(
            f"hidden_size={hidden_size} with heads={heads}: hidden_size must be a multiple of "
            f"{2 * heads}, as each head needs an even width."
        )
    tokenizer = tiny_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden_size // heads,
        max_position_embeddings=POSITIONS,
        # Keeps variances near 1; Qwen3's 0.02 suits wide models and learns more slowly here.
        initializer_range=hidden_size**-0.5,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def _byte_chars() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2, 2019)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    rest = iter(range(256, 512))
    return [chr(byte if byte in printable else next(rest)) for byte in range(256)]


@dataclass(frozen=True)
class Teach:
    """How the tiny model is taught before anything else: SFT on worked problems, in both modes.

    `batch` demonstrations a step for `steps` steps (0: random weights) at the highest rate `lr`,
    out of `problems` problems; the share `nothinking` of them shows the answer without a trace.
    `seed` decides weights, problems and order. ConfigError when a field is out of range.
    """

    seed: int = 0
    steps: int = 300
    batch: int = 36
    lr: float = 3e-3
    problems: int = 8000
    nothinking: float = 0.5556

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("steps", 0), ("batch", 1), ("problems", 1)):
            if getattr(self, name) < least:
                value = getattr(self, name)
                raise ConfigError(f"must be at least {least}, got {value}", where=name)
        if not 0 < self.lr < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.lr}", where="lr")
        if not 0 <= self.nothinking <= 1:
            raise ConfigError(f"must lie in [0, 1], got {self.nothinking}", where="nothinking")


@dataclass(frozen=True)
class Tiny:
    """The node of model=tiny: shape, teaching, and LoRA on top."""

    teach: Teach = field(default_factory=Teach)
    lora: LoRA = field(default_factory=LoRA)
    hidden_size: int = 128
    layers: int = 3
    heads: int = 4
    intermediate_size: int = 256

    def tokenizer(self, corpus: Corpus) -> PreTrainedTokenizerFast:
        """Bytes; needs no corpus."""
        return tiny_tokenizer()

    def model(self, tokenizer: Any, seed: int) -> Qwen3ForCausalLM:
        """Random weights of `teach.seed`. ConfigError for a shape that cannot be."""
        try:
            return tiny_model(
                self.teach.seed,
                hidden_size=self.hidden_size,
                layers=self.layers,
                heads=self.heads,
                intermediate_size=self.intermediate_size,
            )
        except ValueError as error:
            raise ConfigError(str(error), where="model.hidden_size") from error
