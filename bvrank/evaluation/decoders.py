"""How a policy ranks the candidates of a list: by likelihood, or by writing the list.

Every decoder gives scores [candidates] of each shuffle of each list, larger is better.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

from bvrank.data.encoding import Listing, encode
from bvrank.errors import DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.likelihood import VIEWS, likelihoods
from bvrank.evaluation.naming import named
from bvrank.evaluation.orders import ranks_of
from bvrank.records import Encoded, Example, Message, Refused
from bvrank.sampling.local import positions
from bvrank.sampling.responses import Made, Prompt

SLOTS = re.compile(r"\{(prompt|candidates)\}")
Reduce = Literal["sum", "mean"]


@dataclass(frozen=True)
class Shuffle:
    """A list as it is shown: `order` has its candidates by place, the audit's shuffles behind the
    first."""

    example: Example
    order: tuple[int, ...]
    number: int = 0

    @property
    def texts(self) -> list[str]:
        return [c.answer for c in self.example.candidates]

    def asked(self, template: str) -> tuple[Message, ...]:
        """The prompt by `template`, in place of its last turn: {prompt} is that turn, {candidates}
        a line for each as they are shown."""
        *before, last = self.example.prompt
        lines = "\n".join(f"- {self.texts[c]}" for c in self.order)
        slots = {"prompt": last.content, "candidates": lines}
        return (*before, Message(last.role, SLOTS.sub(lambda m: slots[m[1]], template)))


@dataclass
class Decoded:
    """`scores`: (mode, list, shuffle) -> scores of each response (of one, by likelihood); the mode
    is "" where nothing is generated. `rates`: mode -> figure -> list -> value."""

    scores: dict[tuple[str, str, int], list[list[float]]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    rates: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    failed: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)


def by_likelihood(desk: Desk, shuffles: Sequence[Shuffle], template: str, listing: Listing,
                  reduce: Reduce) -> Decoded:  # fmt: skip
    """Log-probs of the candidates, each alone behind the prompt or inside the list as shown; by
    `reduce` their sum over an item's tokens or their mean."""
    asked = [
        replace(s.example, where=f"{s.example.where} {s.number}", prompt=s.asked(template),
                shown=ranks_of(s.order)) for s in shuffles
    ]  # fmt: skip
    rows, refused = encode(asked, desk.policy.template, views=VIEWS,
                           max_length=positions(desk.policy.model), listing=listing)  # fmt: skip
    named_by = {e.where: s for e, s in zip(asked, shuffles, strict=True)}
    lost = {named_by[r.where].example.where for r in refused if r.where in named_by}
    kept = [r for r in rows if named_by[r.where].example.where not in lost]
    if not kept:
        first = f"; first {refused[0].where}: {refused[0].detail}" if refused else ""
        raise DataError(f"no list can be scored{first}", where="task.lists")
    found = Decoded(refused=[replace(r, where=w) for w, r in _first(refused, named_by).items()])
    logps = _shared(desk, listing.context, kept)
    for tree in kept:
        own = logps[tree.where]
        values = [v / n for v, n in zip(own, _lengths(tree), strict=True)]
        shuffle = named_by[tree.where]
        key = ("", shuffle.example.where, shuffle.number)
        found.scores[key] = [values if reduce == "mean" else list(own)]
    return found


def averaged(decoded: Decoded, parts: Mapping[tuple[str, int], Sequence[int]]) -> Decoded:
    """The mean over several shuffles in place of each: (list, new number) -> their numbers."""
    scores = {}
    for (where, number), numbers in parts.items():
        own = [decoded.scores[key][0] for n in numbers if (key := ("", where, n)) in decoded.scores]
        if own:
            scores["", where, number] = [[fmean(column) for column in zip(*own, strict=True)]]
    return replace(decoded, scores=scores)


def by_writing(desk: Desk, shuffles: Sequence[Shuffle], template: str, n: int) -> Decoded:
    """`n` responses to each shuffle in each mode, read as a list of candidates."""
    prompts = [Prompt(row, s.example.where, s.asked(template)) for row, s in enumerate(shuffles)]
    shelf, unfit = desk.respond(prompts, n)
    found = Decoded(refused=unfit)
    gathered: dict[tuple[str, str], list[dict[str, float]]] = {}
    for made in shelf.get(shelf.ordered()):
        shuffle = shuffles[made.row]
        if made.end == "failed":
            found.failed += 1
            continue
        scores, rates = _read(made, shuffle.texts)
        key = (made.mode, shuffle.example.where, shuffle.number)
        found.scores.setdefault(key, []).append(scores)
        found.samples.append({"key": shuffle.example.where, "mode": made.mode, "copy": made.copy,
                              "shuffle": shuffle.number, "shown": list(shuffle.order),
                              "answer": made.answer, "scores": scores, **rates})  # fmt: skip
        if shuffle.number == 0:
            gathered.setdefault((made.mode, shuffle.example.where), []).append(rates)
    for (mode, where), each in gathered.items():
        for name in each[0]:
            cells = found.rates.setdefault(mode, {}).setdefault(name, {})
            cells[where] = fmean(rates[name] for rates in each)
    return found


def _read(made: Made, candidates: Sequence[str]) -> tuple[list[float], dict[str, float]]:
    """Scores, and the rates of a response: invented and repeated pieces over all of its pieces,
    missing candidates over all candidates."""
    answer = made.answer if made.closed else None
    read = named(answer or "", candidates)
    pieces = max(read.mentions, 1)
    rates = {
        "invented": read.invented / pieces, "repeated": read.repeated / pieces,
        "missing": 1 - len(read.order) / len(candidates),
        "unclosed": float(not made.closed), "truncated": float(made.end == "length"),
        "no_answer": float(made.closed and not (answer or "").strip()),
    }  # fmt: skip
    return read.scores(len(candidates)), rates


def _shared(desk: Desk, name: str, rows: Sequence[Encoded]) -> dict[str, tuple[float, ...]]:
    """Log-probs by address; equal trees are scored once."""
    first: dict[bytes, int] = {}
    trees: dict[int, Encoded] = {}
    of: dict[str, int] = {}
    for number, tree in enumerate(rows):
        told = b"|".join(s.parent.to_bytes(4, "little", signed=True) + s.ids.tobytes()
                         for s in tree.segments)  # fmt: skip
        at = b",".join(b"%d" % b.segments[0] for b in tree.branches)
        of[tree.where] = first.setdefault(told + b"#" + at, number)
        trees.setdefault(of[tree.where], tree)
    found = likelihoods(desk.folder, name, trees, desk.policy)
    return {where: found[number] for where, number in of.items()}


def _lengths(tree: Encoded) -> list[int]:
    return [sum(len(tree.segments[s].ids) for s in b.segments) for b in tree.branches]


def _first(refused: Sequence[Refused], named_by: Mapping[str, Shuffle]) -> dict[str, Refused]:
    """One refusal of each list."""
    found: dict[str, Refused] = {}
    for r in refused:
        where = named_by[r.where].example.where if r.where in named_by else r.where
        found.setdefault(where, r)
    return found


def reasons(refused: Sequence[Refused]) -> Counter[str]:
    """How often each."""
    return Counter(r.reason for r in refused)
