"""A part of the rows held out so that no dialogue, question or prompt stands on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random

from bvrank.data.converters import Draft
from bvrank.errors import DataError


def parted(drafts: Sequence[Draft], fraction: float, seed: int) -> tuple[list[Draft], list[Draft]]:
    """(train, test), both in file order.

    Rows that share a key, directly or over others, stay together. The share is one of these
    groups, at least one of which is held out, as decided by their keys and the seed: the order of
    the rows does not matter. DataError when all rows hang together.
    """
    if fraction <= 0:
        return list(drafts), []
    groups = _groups(drafts)
    order = sorted(set(groups), key=lambda name: digest(seed, name))
    if len(order) < 2:
        raise DataError(
            "all rows share one dialogue, question or prompt, so none can be held out",
            where="test_fraction",
            repair="Set it to 0, or add rows.",
        )
    held = set(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    sides: tuple[list[Draft], list[Draft]] = ([], [])
    for draft, group in zip(drafts, groups, strict=True):
        sides[group in held].append(draft)
    return sides


def _groups(drafts: Sequence[Draft]) -> list[str]:
    """For each draft the name of its group: the least key of all that hang together."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for draft in drafts:
        for key in draft.keys[1:]:
            least, other = sorted((root(draft.keys[0]), root(key)))
            parent[other] = least
    return [root(d.keys[0]) for d in drafts]


def digest(seed: int, text: str) -> bytes:
    """16 bytes that depend on nothing but the seed and the text."""
    return blake2b(f"{seed}|{text}".encode(errors="surrogatepass"), digest_size=16).digest()


def dice(seed: int, text: str) -> Random:
    """A generator of its own for each text: what it draws depends on no other row."""
    return Random(int.from_bytes(digest(seed, text)))
