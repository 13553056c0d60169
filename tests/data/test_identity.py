"""A tokenizer is what it makes of texts, wherever it was loaded from."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, normalizers
from transformers import CTRLTokenizer

from bvrank.data.identity import parts_of
from bvrank.data.templates import Template
from tests.data.tokenizers import CHATML, OWN, byte_tokenizer

MERGES = ("l o", "lo w</w>", "n e", "ne w</w>")
WORDS = ["<unk>", *"lowne", "lo@@", "low", "ne@@", "new", "w", "l@@", "o@@", "n@@", "e@@", "w@@"]


def slow(folder: Path, merges: tuple[str, ...] = MERGES, kind: type = CTRLTokenizer, **more: Any
         ) -> Any:  # fmt: skip
    """A BPE in Python."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return kind(str(folder / "vocab.json"), str(folder / "merges.txt"), unk_token="<unk>", **more)


def with_token(tokenizer: Any, token: Any, special: bool = False) -> Any:
    tokenizer.add_tokens([token], special_tokens=special)
    return tokenizer


SLOW: dict[str, Callable[[Path], Any]] = {
    "as it is": slow,
    "merges": lambda p: slow(p, MERGES[::-1]),
    "fewer merges": lambda p: slow(p, MERGES[:2]),
    "added token": lambda p: with_token(slow(p), "lower"),
    "added token that strips": lambda p: with_token(slow(p), AddedToken("lower", lstrip=True)),
    "added special token": lambda p: with_token(slow(p), "lower", special=True),
    "special token": lambda p: slow(p, pad_token="low"),
    "setting": lambda p: slow(p, errors="ignore"),
    "split special tokens": lambda p: slow(p, split_special_tokens=True),
    "class": lambda p: slow(p, kind=type("Other", (CTRLTokenizer,), {})),
}


def test_whatever_makes_other_ids_of_a_slow_tokenizer_counts(tmp_path: Path) -> None:
    found = {name: json.dumps(parts_of(make(tmp_path))) for name, make in SLOW.items()}
    assert slow(tmp_path).is_fast is False
    assert len(set(found.values())) == len(SLOW)


def test_the_same_tokenizer_elsewhere_is_the_same(tmp_path: Path) -> None:
    one, two = slow(tmp_path / "a"), slow(tmp_path / "b")
    assert parts_of(one) == parts_of(two) == parts_of(one)
    assert json.loads(json.dumps(parts_of(one))) is not None


def test_the_code_of_a_class_that_came_with_a_model_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for text in ("low", "new"):
        file = tmp_path / "own_tokenizer.py"
        file.write_text(
            "from transformers import CTRLTokenizer\n"
            "class Own(CTRLTokenizer):\n"
            f"    def _tokenize(self, text): return ['{text}']\n"
        )
        spec = importlib.util.spec_from_file_location("own_tokenizer", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_tokenizer", module)
        spec.loader.exec_module(module)
        found.append(parts_of(slow(tmp_path, kind=module.Own)))
    assert found[0] != found[1]


def normal(tokenizer: Any) -> Any:
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def chat(template: str) -> Any:
    tokenizer = byte_tokenizer(*CHATML)
    tokenizer.chat_template = template
    return tokenizer


TEMPLATES: dict[str, Callable[[], Template]] = {
    "as it is": lambda: Template(chat(OWN["text"])),
    "chat template": lambda: Template(chat(OWN["injected"])),
    "given template": lambda: Template(chat(OWN["text"]), chat_template=OWN["opened"]),
    "normalisation": lambda: Template(normal(chat(OWN["text"]))),
    "added token": lambda: Template(with_token(chat(OWN["text"]), "lower")),
    "special token": lambda: Template(with_token(chat(OWN["text"]), "lower", special=True)),
    "end token": lambda: Template(chat(OWN["text"]), end_token="<|endoftext|>"),
    "empty block": lambda: Template(chat(OWN["text"]), empty_block="<think></think>\n"),
    "date": lambda: Template(chat(OWN["text"]), date="2025-01-01"),
}


def test_whatever_makes_other_ids_of_a_template_counts() -> None:
    found = {name: make().identity() for name, make in TEMPLATES.items()}
    assert len(set(found.values())) == len(TEMPLATES)
    assert found == {name: make().identity() for name, make in TEMPLATES.items()}
