"""What tasks with a judge share: one answer to each prompt in each mode, and what it lacks.

An answer that is not there (thinking never closed, nothing behind it, a prompt that could not be
asked) loses, and no judge is asked. One that its server never gave is left out, and counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bvrank.errors import ConfigError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.telling import away, left_out, thoughtless
from bvrank.records import Refused
from bvrank.run.files import write_atomic
from bvrank.sampling.responses import Made, Prompt

RATES = ("unclosed", "truncated", "no_answer", "tokens", "length")


@dataclass(frozen=True)
class Entrant:
    """The answer to one prompt in one mode. `made` is None where the prompt did not fit."""

    mode: str
    prompt: Prompt
    made: Made | None

    @property
    def answer(self) -> str:
        """The final answer alone; "" where there is none."""
        made = self.made
        there = made is not None and made.closed and bool((made.answer or "").strip())
        return (made.answer or "") if there and made is not None else ""

    def rate(self, name: str) -> float | None:
        """What stands beside the scores; None where nobody counted."""
        made = self.made
        if name == "length":
            return float(len(self.answer))
        if made is None:
            return None
        return {
            "unclosed": float(not made.closed), "truncated": float(made.end == "length"),
            "no_answer": float(made.closed and not self.answer),
            "tokens": None if made.tokens is None else float(made.tokens),
        }[name]  # fmt: skip


@dataclass(frozen=True)
class Contest:
    """Everybody who takes part, by mode and prompt; `counts` of who does not, and why."""

    entrants: list[Entrant]
    counts: Counter[str]
    notes: list[str]

    def of(self, mode: str) -> list[Entrant]:
        return [e for e in self.entrants if e.mode == mode]

    def rates(self, mode: str) -> dict[str, dict[str, float]]:
        """The cells beside the scores."""
        found = {
            f"{mode}/{name}": {
                e.prompt.where: v for e in self.of(mode) if (v := e.rate(name)) is not None
            }
            for name in RATES
        }
        return {name: cells for name, cells in found.items() if cells}


def contest(desk: Desk, source: Any) -> Contest:
    """One answer to each prompt of `source`. ConfigError where more were asked for."""
    if desk.n not in (None, 1):
        raise ConfigError(f"one answer to each prompt is judged, got {desk.n}", where="n")
    prompts, refused = desk.prompts(source)
    made, unfit = replace(desk, n=None).respond(prompts, 1)
    entrants, short = [], {r.where for r in unfit}
    failed = 0
    for mode in desk.modes:
        for prompt in prompts:
            key = (mode, prompt.row, 0)
            (found,) = made.get([key]) if key in made else (None,)
            if found is not None and found.end == "failed":
                failed += 1
            elif found is not None or prompt.where in short:
                entrants.append(Entrant(mode, prompt, found))
    counts = Counter(r.reason for r in (*refused, *unfit))
    counts["failed"] += failed
    counts["no_answer"] += (missing := sum(not e.answer for e in entrants))
    return Contest(entrants, +counts, _notes(refused, unfit, missing, failed, entrants))


def _notes(refused: Sequence[Refused], unfit: Sequence[Refused], missing: int, failed: int,
           entrants: Sequence[Entrant]) -> list[str]:  # fmt: skip
    notes = left_out(refused, unfit, "lost")
    if missing:
        notes.append(f"{missing:,} answers are not there and lost without a judge")
    notes += away(failed, 0)
    return notes + thoughtless(e.made for e in entrants if e.made is not None)


def worded(key: str, own: str) -> str:
    """The note on a judge that was not asked in the official words."""
    return (f"the judge was asked in the words of {own}; published figures rest on the official "
            f"ones, which {key} reads")  # fmt: skip


def unjudged(reasons: Counter[str], what: str, recorded: bool = False) -> list[str]:
    """The note on what has no verdict; `recorded`: in a file of verdicts, where it is null."""
    told = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    told += " (null in the file, or no known verdict)" if recorded else ""
    return [f"{what} without a verdict are left out: {told}"] if reasons else []


def digest(*parts: str) -> str:
    """A short name by content."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:12]


def wording(path: str, where: str) -> str:
    """The text of a file. ConfigError when there is none; `where` is the key that names it."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", where=where) from None


def export(path: Path, text: str) -> None:
    """Writes a file of the official form."""
    write_atomic(path, text)
