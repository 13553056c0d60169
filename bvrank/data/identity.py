"""What a tokenizer is, by content: everything that decides which ids a text becomes."""

from __future__ import annotations

import hashlib
import inspect
import sys
import tempfile
from pathlib import Path
from typing import Any

KNOWN = sys.stdlib_module_names | {"tokenizers", "transformers"}  # whose code their versions say


def parts_of(tokenizer: Any) -> list[Any]:
    """As JSON: class and code, vocabulary with merges or model, normalisation, special and added
    tokens, settings. Not where it was loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else _slow(tokenizer)
    return [words, _code(type(tokenizer)), str(tokenizer.special_tokens_map),
            bool(getattr(tokenizer, "split_special_tokens", False))]  # fmt: skip


def _slow(tokenizer: Any) -> list[Any]:
    """Of one that is Python or sentencepiece: the files it saves, and what stands in none."""
    added = {i: repr(t) for i, t in sorted(tokenizer.added_tokens_decoder.items())}
    settings = {
        name: repr(value)
        for name, value in sorted(getattr(tokenizer, "init_kwargs", {}).items())
        if not name.endswith(("file", "path")) and name != "chat_template"
    }
    return [sorted(tokenizer.get_vocab().items()), _saved(tokenizer), added, settings]


def _saved(tokenizer: Any) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        try:
            tokenizer.save_vocabulary(name)
        except (AttributeError, NotImplementedError):  # its files are of a kind of their own
            tokenizer.save_pretrained(name)
        files = sorted(p for p in Path(name).rglob("*") if p.is_file())
        return [f"{p.relative_to(name)}|{_hash(p)}" for p in files]


def _code(kind: type) -> list[str]:
    """The names of a class and its bases, with the code of those that came with a model."""
    found = []
    for base in kind.__mro__:
        found.append(f"{base.__module__}.{base.__qualname__}")
        if base.__module__.partition(".")[0] not in KNOWN:
            found.append(_source(base))
    return found


def _source(kind: type) -> str:
    try:
        file = inspect.getsourcefile(sys.modules[kind.__module__])
        return _hash(Path(file)) if file else ""
    except (KeyError, OSError, TypeError):  # made as the process runs
        return ""


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
