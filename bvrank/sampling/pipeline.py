"""The stages of sampling, each of which goes on where it was stopped: generate, score, select.

A folder of sampling holds

    responses-<rank>.jsonl      every response that was made, one a line
    scores-<hash>-<rank>.jsonl  their scores under one reward; the hash is of its identity
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from bvrank.protocols import Reward
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Asked, Mode
from bvrank.sampling.local import Work
from bvrank.sampling.responses import Judged, Key, Log, Made, Prompt, Shelf
from bvrank.sampling.selection import Selection, pool, repeated, row_of
from bvrank.tracking.progress import phase

Fits = Callable[[Made], str | None]


class Generator(Protocol):
    """Makes responses."""

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """Those of this rank that are not known, some at a time, each as soon as it is there;
        known ones may come again."""


@dataclass
class ModeCount:
    """What became of the responses of one mode, and of its prompts."""

    responses: int = 0
    closed: int = 0
    repeated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    without: Counter[str] = field(default_factory=Counter)  # prompts without a pair, by reason
    tokens: list[int] = field(default_factory=list)  # of responses that may be sides
    lost_tokens: list[int] = field(default_factory=list)  # of those whose thinking never closed


def responses_of(folder: Path) -> Shelf:
    """What was made so far."""
    return Shelf(folder.glob("responses-*.jsonl"), Made)


def generate(folder: Path, work: Work, generator: Generator, ranks: Ranks = ALONE) -> None:
    """Makes every response that the folder does not hold."""
    known = responses_of(folder)
    ranks.gather(None)  # all have read before one writes
    title = "sampling" if ranks.world == 1 else f"sampling, rank 0 of {ranks.world}"
    share = work.total // ranks.world
    with ExitStack() as open_:
        log = open_.enter_context(Log(folder / f"responses-{ranks.rank:05d}.jsonl"))
        shown = open_.enter_context(phase(title, share, done=len(known) // ranks.world))
        if len(known) < work.total:
            for mode in work.modes:
                for batch in generator.responses(work, mode, known, ranks.rank, ranks.world):
                    new = [made for made in batch if made.key not in known]
                    log.add(new)
                    shown.advance(min(len(new), shown.total - shown.done))
    ranks.gather(None)


def scores_of(folder: Path, reward: Reward) -> Shelf:
    """The scores so far under `reward`."""
    return Shelf(folder.glob(f"scores-{_mark(reward)}-*.jsonl"), Judged)


def score(folder: Path, prompts: Sequence[Prompt], made: Shelf, reward: Reward,
          ranks: Ranks = ALONE) -> None:  # fmt: skip
    """Scores every response that holds an answer and has no score yet."""
    known = scores_of(folder, reward)
    ranks.gather(None)
    by_row = {p.row: p for p in prompts}
    left = [key for key in made.ordered() if key not in known][ranks.rank :: ranks.world]
    path = folder / f"scores-{_mark(reward)}-{ranks.rank:05d}.jsonl"
    with Log(path) as log, phase("scoring", len(left)) as shown:

        def asked() -> Iterator[Asked]:
            for m in made.get(left):
                if m.closed and (m.answer or "").strip():
                    prompt = by_row[m.row]
                    yield Asked(_name(m.key), prompt.messages, m.answer, prompt.gold, m.score)
                else:
                    shown.advance()

        for found in reward.scores(asked()):
            mode, row, copy = found.key.split(":")
            log.add([Judged(mode, int(row), int(copy), found.score, found.reason)])  # type: ignore[arg-type]
            shown.advance()
    ranks.gather(None)


def select(prompts: Sequence[Prompt], made: Shelf, scores: Shelf, selection: Selection,
           fits: Fits, seed: int, counts: dict[Mode, ModeCount]
           ) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of the file of pairs, by mode and prompt; `counts` says what became of the rest."""
    by_row = {p.row: p for p in prompts}
    for (mode, row), keys in groupby(made.ordered(), key=lambda key: key[:2]):
        count = counts.setdefault(mode, ModeCount())
        group = list(made.get(keys))
        found = pool(selection, group, fits)
        _count(count, group, found.left_out)
        if found.whole_prompt:
            count.without["unfinished"] += 1
            continue
        scored = []
        keyed = [m.key for m in found.usable if m.key in scores]
        for usable, judged in zip(found.usable, scores.get(keyed), strict=True):
            if judged.score is None:
                count.unscored[judged.reason] += 1
            else:
                scored.append((usable, judged.score))
                count.tokens += [usable.tokens] if usable.tokens is not None else []
        sides = selection.pair(by_row[row], mode, scored, seed)
        if isinstance(sides, str):
            count.without[sides] += 1
            continue
        count.pairs += 1
        yield row_of(selection, by_row[row], mode, sides, [m for m, _ in scored])


def _count(count: ModeCount, group: Sequence[Made], left_out: Counter[str]) -> None:
    count.responses += len(group)
    count.closed += sum(m.closed and m.end != "failed" for m in group)
    count.repeated += repeated(group)
    count.left_out += left_out
    lost = [m.tokens for m in group if not m.closed and m.tokens is not None]
    count.lost_tokens += lost


def _mark(reward: Reward) -> str:
    return hashlib.sha256(reward.identity.encode()).hexdigest()[:8]


def _name(key: Key) -> str:
    return ":".join(map(str, key))
