"""Held-out rows, by prompt: no prompt stands on both sides, whatever the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from bvrank.errors import DataError
from bvrank.records import Example, Refused

Found = Example | Refused


def held_out_split(
    rows: Sequence[Found], fraction: float, seed: int
) -> tuple[list[Found], list[Found]]:
    """(train, held out): the share `fraction` of the prompts, but at least one, is held out.

    Which ones is decided by the prompts and the seed. Rows keep their order; refused rows stay
    with train. DataError when there are fewer than two prompts.
    """
    prompts = {prompt_key(row) for row in rows if isinstance(row, Example)}
    if not prompts:
        return list(rows), []
    if len(prompts) < 2:
        raise DataError(
            "all rows share one prompt, so none can be held out",
            where="data.eval_fraction",
            repair="Set it to 0, or add prompts.",
        )
    count = min(max(1, round(fraction * len(prompts))), len(prompts) - 1)
    chosen = set(sorted(prompts, key=lambda p: (_hash(p, seed), p))[:count])
    train: list[Found] = []
    held: list[Found] = []
    for row in rows:
        out = isinstance(row, Example) and prompt_key(row) in chosen
        (held if out else train).append(row)
    return train, held


def without_leaks(train: Sequence[Found], held: Sequence[Found]) -> list[Found]:
    """`train` with every example refused (`in_eval`) whose prompt is held out as well.

    Train gives way: held-out figures stay comparable with those of others who use the same file.
    """
    known = {prompt_key(row): row.where for row in held if isinstance(row, Example)}
    return [
        Refused(row.where, "in_eval", f"its prompt is held out too, {known[prompt_key(row)]}")
        if isinstance(row, Example) and prompt_key(row) in known
        else row
        for row in train
    ]


def prompt_key(example: Example) -> str:
    """What makes two prompts the same: who says what, but for case and white space. System
    turns do not count, since they often differ between files of one origin."""
    turns = (m for m in example.prompt if m.role != "system")
    return "\x1e".join(f"{m.role}\x1f{' '.join(m.content.split()).casefold()}" for m in turns)


def _hash(prompt: str, seed: int) -> bytes:
    return blake2b(f"{seed}|{prompt}".encode(), digest_size=16).digest()
