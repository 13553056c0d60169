"""What a result says in words of responses that are missing, or that may not be what they seem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bvrank.records import Refused
from bvrank.sampling.responses import Made


def left_out(refused: Sequence[Refused], unfit: Sequence[Refused], as_what: str) -> list[str]:
    """Rows without a prompt, and prompts that could not be asked, which count `as_what`."""
    notes = []
    if refused:
        notes.append(f"{len(refused)} rows hold no prompt and are left out; first "
                     f"{refused[0].where}: {refused[0].detail}")  # fmt: skip
    if unfit:
        notes.append(f"{len(unfit)} prompts could not be asked and count as {as_what}; first "
                     f"{unfit[0].where}: {unfit[0].detail}")  # fmt: skip
    return notes


def away(failed: int, alone: int) -> list[str]:
    """Responses that never came, and prompts that have no other one in a mode."""
    if not failed:
        return []
    without = f", and with them {alone:,} prompts that have no other" if alone else ""
    return [f"{failed:,} responses never came and are left out of every figure{without}"]


def thoughtless(made: Iterable[Made]) -> list[str]:
    """Responses that may be thoughts which nothing marks."""
    found = sum(m.mode == "thinking" and m.think is None and m.end == "length" for m in made)
    if not found:
        return []
    return [f"{found:,} thinking responses were cut off and show no thought: they count as "
            "answers. Where the template of a server opens the think block itself they are "
            "thoughts: sampler.opened=true"]  # fmt: skip
