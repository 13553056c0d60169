"""Byte-level tokenizers made in memory, with the special tokens of a template's family."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from bvrank.answers import CLOSE, OPEN
from bvrank.data.templates import Template

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))

# bos, eos, other special tokens, whether the think tags are tokens of their own
CHATML = (None, "<|im_end|>", ("<|im_start|>", "<|endoftext|>"), True)
FAMILIES: dict[str, tuple[str | None, str, tuple[str, ...], bool]] = {
    "deepseek_r1_distill_qwen": (
        "<｜begin▁of▁sentence｜>",  # noqa: RUF001
        "<｜end▁of▁sentence｜>",  # noqa: RUF001
        ("<｜User｜>", "<｜Assistant｜>"),  # noqa: RUF001
        True,
    ),
    "gemma": ("<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>"), False),
    "llama3_2": (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        False,
    ),
    "phi3": ("<s>", "<|endoftext|>", ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), False),
    "qwen2_5": CHATML,
    "qwen3": CHATML,
    "qwen3_5_think": CHATML,
}

_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
_EMPTY = "<think>\n\n</think>\n\n"
OWN = {
    "text": _TURNS + "{% endif %}",
    "injected": _TURNS + "{% if enable_thinking is false %}" + _EMPTY + "{% endif %}{% endif %}",
    "opened": _TURNS + "<think>\n{% endif %}",
    "opened_bare": _TURNS + "<think>{% endif %}",
    "switched": _TURNS
    + "{% if enable_thinking is false %}"
    + _EMPTY
    + "{% else %}<think>\n{% endif %}{% endif %}",
    "told": "{% if enable_thinking is false %}<|im_start|>system\n/no_think<|im_end|>\n{% endif %}"
    + _TURNS
    + "{% endif %}",
    "none": "",
}


def byte_tokenizer(
    bos: str | None, eos: str, special: Sequence[str] = (), think: bool = True
) -> PreTrainedTokenizerFast:
    """One token per byte, then the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    names = [t for t in (bos, eos, *special) if t]
    core.add_special_tokens([AddedToken(t, special=True) for t in names])
    if think:
        core.add_tokens([AddedToken(t, normalized=False) for t in (OPEN, CLOSE)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, clean_up_tokenization_spaces=False
    )


@cache
def template(name: str) -> Template:
    """An own template of OWN, or a real one of BVRANK_REAL_DATA."""
    tokenizer = byte_tokenizer(*FAMILIES.get(name, CHATML))
    if name in OWN:
        tokenizer.chat_template = OWN[name] or None
    else:
        path = REAL / "chat_templates" / f"{name}.jinja"
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    return Template(tokenizer)


def names() -> list[str]:
    """Every template there is."""
    return [*OWN, *(FAMILIES if (REAL / "chat_templates").is_dir() else ())]
