"""The texts a tokenizer may be trained on, and where its result is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bvrank.errors import ConfigError

VOCABULARY = range(512, 1_000_001)  # tokens that a byte-level BPE may have


@dataclass(frozen=True)
class Corpus:
    """`texts` yields the training texts, the same each time; `store` is the artifact store."""

    texts: Callable[[], Iterable[str]]
    store: Path

    def fingerprint(self) -> str:
        """Hash of all texts."""
        digest = hashlib.blake2b(digest_size=16)
        for text in self.texts():
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()


def check_vocabulary(tokens: int, key: str) -> None:
    """ConfigError for a number of tokens that no byte-level BPE has here."""
    if tokens not in VOCABULARY:
        low, high = VOCABULARY[0], VOCABULARY[-1]
        raise ConfigError(f"must lie in [{low}, {high}], got {tokens}", where=key)
