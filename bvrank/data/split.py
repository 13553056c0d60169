"""Held-out rows, by prompt: no prompt stands on both sides, whatever the order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from bvrank.errors import DataError
from bvrank.records import Example, Message, Refused

Found = Example | Refused
HASH = np.dtype([("high", ">u8"), ("low", ">u8")])  # ordered as its 16 bytes are


def divided(source: Any, held_source: Any, fraction: float, seed: int
            ) -> Iterator[tuple[bool, Found]]:  # fmt: skip
    """Every row with whether it is held out. `source` is read twice where a share is held out, and
    of each prompt a hash alone is remembered.

    held_source: all of its rows are held out, and rows of `source` with a prompt of theirs are
    refused (`in_eval`): held-out figures stay comparable with those of others who use the same
    file. fraction: the share of the prompts, but at least one, that is held out, as decided by the
    prompts and the seed; refused rows stay with train. DataError when there is one prompt only.
    """
    if held_source is not None:
        yield from _beside(source, held_source)
        return
    last = _last_held_out(source, fraction, seed) if fraction > 0 else None
    for row in source.rows():
        held = last is not None and isinstance(row, Example) and _own(row, seed) <= last
        yield held, row


def _beside(source: Any, held_source: Any) -> Iterator[tuple[bool, Found]]:
    known: dict[bytes, str] = {}
    for row in held_source.rows():
        if isinstance(row, Example):
            known[_hash(prompt_key(row), 0)] = row.where
        yield True, row
    for row in source.rows():
        there = known.get(_hash(prompt_key(row), 0)) if isinstance(row, Example) else None
        if there is not None:
            row = Refused(row.where, "in_eval", f"its prompt is held out too, {there}")
        yield False, row


def _last_held_out(source: Any, fraction: float, seed: int) -> bytes | None:
    """The largest hash of a prompt that is held out; None where there is no prompt."""
    hashes = bytearray()
    for row in source.rows():
        if isinstance(row, Example):
            hashes += _hash(prompt_key(row), seed)
    prompts = np.unique(np.frombuffer(hashes, HASH))
    if not len(prompts):
        return None
    if len(prompts) < 2:
        raise DataError(
            "all rows share one prompt, so none can be held out",
            where="data.eval_fraction",
            repair="Set it to 0, or add prompts.",
        )
    count = min(max(1, round(fraction * len(prompts))), len(prompts) - 1)
    return bytes(prompts[count - 1].tobytes())


def prompt_key(example: Example) -> str:
    """What makes two prompts the same: who says what, but for case and white space. System
    turns do not count, since they often differ between files of one origin."""
    return "\x1e".join(map(_turn_key, (m for m in example.prompt if m.role != "system")))


def opening_key(example: Example) -> str:
    """What makes two prompts the same dialogue, one perhaps further on than the other: the user's
    first turn."""
    return next(_turn_key(m) for m in example.prompt if m.role == "user")


def _turn_key(turn: Message) -> str:
    return f"{turn.role}\x1f{' '.join(turn.content.split()).casefold()}"


def _own(row: Example, seed: int) -> bytes:
    return _hash(prompt_key(row), seed)


def _hash(prompt: str, seed: int) -> bytes:
    return blake2b(f"{seed}|{prompt}".encode(), digest_size=16).digest()
