"""From scored responses to pairs: who is chosen, who is rejected, and what is left out and why."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bvrank.data.turns import written_prompt
from bvrank.errors import ConfigError
from bvrank.records import Mode
from bvrank.sampling.responses import VIEW, Made, Prompt

Scored = tuple[Made, float]
CUT = ("unfinished_thinking", "unfinished_answer")  # out of tokens
UNFINISHED = (*CUT, "unclosed")


@dataclass(frozen=True)
class Selection:
    """How the responses to one prompt in one mode become a pair.

    rule: best_worst (the highest score against the lowest; a draw decides among equals), random
    (two that are drawn), margin (a draw among the pairs whose scores lie further apart than
    `margin`). A pair whose scores differ by no more than `margin` is none.
    unfinished: a response that ran out of tokens while it answered is left out (drop), takes its
    prompt along in this mode (drop_prompt), or may be a side (keep). One without an answer, its
    thinking never closed, is never a side, and takes its prompt along likewise.
    duplicates: a response that says the same as an earlier one counts again (keep) or not (drop).
    traces: up to so many responses that reach the answer of a side make that side, for objectives
    that take means over traces.
    """

    rule: Literal["best_worst", "random", "margin"] = "best_worst"
    margin: float = 0.0
    unfinished: Literal["drop", "drop_prompt", "keep"] = "drop"
    duplicates: Literal["keep", "drop"] = "keep"
    traces: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.margin < float("inf"):
            raise ConfigError(f"must be at least 0, got {self.margin}", where="margin")
        if self.traces < 1:
            raise ConfigError(f"must be at least 1, got {self.traces}", where="traces")

    def pair(self, prompt: Prompt, mode: Mode, scored: Sequence[Scored], seed: int
             ) -> tuple[Scored, Scored] | str:  # fmt: skip
        """(chosen, rejected), or the reason why there is no pair: `one_response` (fewer than two
        can be sides), `tie`, `margin`, or `same_text` (scores apart, one text on both sides)."""
        if len(scored) < 2:
            return "one_response"
        text = "|".join(m.content for m in prompt.messages)
        draw = random.Random(f"{seed}|{text}|{VIEW[mode]}")
        if self.rule == "best_worst":
            return self._apart(*_extremes(scored, draw))
        if self.rule == "random":
            one, other = draw.sample(list(scored), 2)
            return self._apart(*((one, other) if one[1] >= other[1] else (other, one)))
        apart = [(a, b) for a in scored for b in scored
                 if a[1] - b[1] > self.margin and not self._same(a[0], b[0])]  # fmt: skip
        if apart:
            return draw.choice(apart)
        return self._apart(*_extremes(scored, draw))

    def _apart(self, best: Scored, worst: Scored) -> tuple[Scored, Scored] | str:
        gap = best[1] - worst[1]
        if gap > self.margin:
            return "same_text" if self._same(best[0], worst[0]) else (best, worst)
        return "margin" if gap > 0 else "tie"

    def _same(self, one: Made, other: Made) -> bool:
        """Whether both would make one side; with several traces the answer names it."""
        if self.traces > 1:
            return one.answer == other.answer
        return side(one) == side(other)


@dataclass
class Pool:
    """The responses to a prompt in one mode that may be sides, and what became of the others."""

    usable: list[Made]
    left_out: Counter[str]
    whole_prompt: bool = False  # left out altogether


def pool(selection: Selection, group: Sequence[Made], fits: Any) -> Pool:
    """Sorts out a group. `fits(made)` names why a response cannot train, or returns None.

    Reasons: `failed` (no response came), `filtered`, `unfinished_thinking` (tokens ran out),
    `unclosed` (ended by itself inside the thinking), `unfinished_answer`, `no_answer` (closed, and
    nothing behind it), `thought` (though thinking was off), `duplicate`, and those of `fits`.
    """
    found = Pool([], Counter())
    said: set[tuple[str | None, str | None]] = set()
    for made in group:
        reason = _unusable(made, selection) or fits(made)
        if reason is None and selection.duplicates == "drop" and (made.think, made.answer) in said:
            reason = "duplicate"
        if reason is None:
            said.add((made.think, made.answer))  # one that is left out stands in nobody's way
            found.usable.append(made)
        else:
            found.left_out[reason] += 1
    unfinished = sum(found.left_out[name] for name in UNFINISHED)
    if selection.unfinished == "drop_prompt" and unfinished:
        found.whole_prompt = True
    return found


def repeated(group: Sequence[Made]) -> int:
    """How many responses say what an earlier one of the group says."""
    texts = [(m.think, m.answer) for m in group if m.whole]
    return len(texts) - len(set(texts))


def row_of(selection: Selection, prompt: Prompt, mode: Mode, sides: tuple[Scored, Scored],
           usable: Sequence[Made]) -> dict[str, Any]:  # fmt: skip
    """A row of the file of pairs; `usable` are the responses that a side may hold beside its own
    (`traces` > 1)."""
    (chosen, high), (rejected, low) = sides
    row: dict[str, Any] = {"prompt": written_prompt(prompt.messages), "view": VIEW[mode]}
    for name, made in (("chosen", chosen), ("rejected", rejected)):
        if selection.traces == 1:
            row[name] = side(made)
        else:
            row[name] = [side(m) for m in _same_answer(made, usable, selection.traces, mode)]
    numbers = {"chosen_copy": chosen.copy, "rejected_copy": rejected.copy}
    return row | {"chosen_score": high, "rejected_score": low, "row": prompt.row, **numbers}


def side(made: Made) -> dict[str, str | None]:
    """{think, answer}; no trace where thinking was off."""
    return {"think": made.think if made.mode == "thinking" else None, "answer": made.answer}


def _same_answer(drawn: Made, usable: Sequence[Made], most: int, mode: Mode) -> Iterator[Made]:
    """`drawn`, then the others with its answer in the order they were made; `most` in all. A trace
    that was sampled twice stands twice, as a mean over samples wants it."""
    yield drawn
    if mode == "thinking":
        others = [m for m in usable if m is not drawn and m.answer == drawn.answer]
        yield from others[: most - 1]


def _extremes(scored: Sequence[Scored], draw: random.Random) -> tuple[Scored, Scored]:
    high, low = (pick(s for _, s in scored) for pick in (max, min))
    best, worst = ([x for x in scored if x[1] == level] for level in (high, low))
    return draw.choice(best), draw.choice(worst)


def _unusable(made: Made, selection: Selection) -> str | None:
    if made.end == "failed":
        return "failed"
    if made.end == "content_filter":
        return "filtered"
    if made.answer is None or not made.closed:
        return "unfinished_thinking" if made.end == "length" else "unclosed"
    if made.mode == "nothinking" and (made.think or "").strip():
        return "thought"
    if made.end == "length" and selection.unfinished != "keep":
        return "unfinished_answer"
    return None if made.answer.strip() else "no_answer"
