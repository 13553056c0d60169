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
from bvrank.sampling.selection import Pool, Selection, pool, repeated, row_of
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

    responses: int = 0  # that came
    closed: int = 0  # of those with a trace, the ones whose thinking ended
    repeated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    without: Counter[str] = field(default_factory=Counter)  # prompts without a pair, by reason
    tokens: list[int] = field(default_factory=list)  # of responses that may be sides
    lost_tokens: list[int] = field(default_factory=list)  # of those left out for want of tokens
    traced: int = 0  # responses with a trace, which NoThinking should not have
    cut: int = 0  # pairs with a side that ran out of tokens (select.unfinished=keep)
    models: Counter[str] = field(default_factory=Counter)  # names that a server answered with
    spared: int = 0  # answers that nobody scored, as no pair could hold them


def responses_of(folder: Path) -> Shelf:
    """What was made so far."""
    return Shelf(folder.glob("responses-*.jsonl"), Made)


def generate(folder: Path, work: Work, generator: Generator, ranks: Ranks = ALONE) -> None:
    """Makes every response of this rank that the folder does not hold. A generator that has `after`
    looks at those that it holds first."""
    shelf = responses_of(folder)
    known, there = shelf.settled(), len(shelf) - len(shelf.away)
    if hasattr(generator, "after"):
        generator = generator.after(shelf.get(shelf.ordered()), there >= work.total)
    ranks.gather(None)  # all have read before one writes
    title = "sampling" if ranks.world == 1 else f"sampling, rank 0 of {ranks.world}"
    share = work.total // ranks.world
    with ExitStack() as open_:
        log = open_.enter_context(Log(folder / f"responses-{ranks.rank:05d}.jsonl"))
        shown = open_.enter_context(phase(title, share, done=there // ranks.world))
        if there < work.total:
            for mode in work.modes:
                for batch in generator.responses(work, mode, known, ranks.rank, ranks.world):
                    new = [made for made in batch if made.key not in known]
                    log.add(new)
                    shown.advance(min(len(new), shown.total - shown.done))


def scores_of(folder: Path, reward: Reward) -> Shelf:
    """The scores so far under `reward`."""
    return Shelf(folder.glob(f"scores-{mark(reward)}-*.jsonl"), Judged)


def score(folder: Path, prompts: Sequence[Prompt], made: Shelf, reward: Reward,
          ranks: Ranks = ALONE, wanted: Container[Key] | None = None) -> None:  # fmt: skip
    """Scores every response of this rank that holds an answer and has no score yet; all are there
    when it is called. Equal answers to a prompt are scored once, in whatever mode: what a batch or
    a judge's mood adds is no preference. `wanted`: answers that equal none of these are left
    out."""
    shelf = scores_of(folder, reward)
    known = shelf.settled()
    ranks.gather(None)
    by_row = {p.row: p for p in prompts}
    equals = _equals(made, wanted)
    size = reward.together or 1
    parts = [equals[i : i + size] for i in range(0, len(equals), size)][ranks.rank :: ranks.world]
    left = [part for part in parts if any(k not in known for keys in part for k in keys)]
    if hasattr(reward, "shared"):
        reward = reward.shared(
            ranks.world, sum(len(part) for part in parts) - _unknown(left, known)
        )
    count = sum(k not in known for part in left for keys in part for k in keys)
    path = folder / f"scores-{mark(reward)}-{ranks.rank:05d}.jsonl"
    with Log(path) as log, phase("scoring", count) as shown:
        if reward.together is None:
            log.add(judged := list(_copied(left, shelf, known)))
            shown.advance(len(judged))
            left = [p for p in left if not any(k in known for keys in p for k in keys)]
            left = [[keys for part in left for keys in part]]
        for part in filter(None, left):
            heads = {_name(keys[0]): keys for keys in part}
            asked = (_asked(m, by_row[m.row]) for m in made.get(keys[0] for keys in part))
            for found in reward.scores(asked):
                keys = [k for k in heads[found.key] if k not in known]
                log.add([Judged(*key, found.score, found.reason) for key in keys])
                shown.advance(len(keys))


def to_score(made: Shelf, scores: Shelf, wanted: Container[Key] | None = None) -> list[Key]:
    """Of each answer that `score` would have scored, the first response that gives it."""
    known = scores.settled()
    return [keys[0] for keys in _equals(made, wanted) if not any(k in known for k in keys)]


def candidates(made: Shelf, selection: Selection, fits: Fits) -> set[Key]:
    """The responses whose scores decide something: those that may be a side, with another one to
    be compared with."""
    found: set[Key] = set()
    for _, keys in groupby(made.ordered(), key=lambda key: key[:2]):
        some = pool(selection, list(made.get(keys)), fits)
        if len(some.usable) > 1 and not some.whole_prompt:
            found.update(m.key for m in some.usable)
    return found


def _equals(made: Shelf, wanted: Container[Key] | None) -> list[list[Key]]:
    """The keys of answers that can be scored, equal ones together, by the first of each; of those
    that are `wanted`."""
    found: dict[Any, list[Key]] = {}
    for m in made.get(made.ordered()):
        if _has_answer(m):
            text = hashlib.sha256(m.answer.encode("utf-8", "surrogatepass")).digest()
            found.setdefault((m.row, text, m.score), []).append(m.key)
    return [keys for keys in found.values() if wanted is None or any(k in wanted for k in keys)]


def _has_answer(made: Made) -> bool:
    return made.closed and bool((made.answer or "").strip())


def _unknown(parts: Sequence[Sequence[Sequence[Key]]], known: Container[Key]) -> int:
    """Answers of which nothing equal has a score."""
    return sum(not any(k in known for k in keys) for part in parts for keys in part)


def _copied(parts: Sequence[Sequence[Sequence[Key]]], shelf: Shelf, known: Container[Key]
            ) -> Iterator[Judged]:  # fmt: skip
    """Scores of answers whose equals have one already."""
    for keys in (keys for part in parts for keys in part):
        if (first := next((k for k in keys if k in known), None)) is not None:
            (judged,) = shelf.get([first])
            for key in keys:
                if key not in known:
                    yield Judged(*key, judged.score, judged.reason)


def _asked(made: Made, prompt: Prompt) -> Asked:
    return Asked(_name(made.key), prompt.messages, made.answer or "", prompt.gold, made.score)


def select(prompts: Sequence[Prompt], made: Shelf, scores: Shelf, selection: Selection,
           fits: Fits, seed: int, counts: dict[Mode, ModeCount]
           ) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of the file of pairs, by mode and prompt; `counts` says what became of the rest."""
    by_row = {p.row: p for p in prompts}
    for (mode, row), keys in groupby(made.ordered(), key=lambda key: key[:2]):
        count = counts.setdefault(mode, ModeCount())
        group = list(made.get(keys))
        found = pool(selection, group, fits)
        _count(count, group, found)
        count.spared += sum(_has_answer(m) and m.key not in scores for m in group)
        if found.whole_prompt:
            count.without["unfinished"] += 1
            continue
        scored = _scored(found.usable, scores, count)
        sides = selection.pair(by_row[row], mode, scored, seed)
        if isinstance(sides, str):
            count.without[sides] += 1
            continue
        count.pairs += 1
        count.cut += any(side.end == "length" for side, _ in sides)
        yield row_of(selection, by_row[row], mode, sides, [m for m, _ in scored])


def _scored(usable: Sequence[Made], scores: Shelf, count: ModeCount) -> list[tuple[Made, float]]:
    """Those that have a score. One with nothing to be compared with may have none: it could have
    been a side."""
    keys = [m.key for m in usable if m.key in scores]
    assert len(keys) == len(usable) or len(usable) == 1
    judged = {found.key: found for found in scores.get(keys)}
    scored = []
    for m in usable:
        found = judged.get(m.key)
        if found is not None and found.score is None:
            count.unscored[found.reason] += 1
            continue
        count.tokens += [m.tokens] if m.tokens is not None else []
        scored += [(m, found.score)] if found is not None else []
    return scored


def _count(count: ModeCount, group: Sequence[Made], found: Pool) -> None:
    group = [m for m in group if not m.away]
    count.responses += len(group)
    traced = [m for m in group if m.think is not None and (m.mode == "thinking" or m.think.strip())]
    count.traced += len(traced)
    count.closed += sum(m.closed for m in traced)
    count.repeated += repeated(group)
    count.models.update(m.model for m in group if m.model is not None)
    count.left_out += found.left_out
    kept = {m.copy for m in found.usable}
    lost = [m.tokens for m in group if m.end == "length" and m.copy not in kept]
    count.lost_tokens += [tokens for tokens in lost if tokens is not None]


def mark(reward: Reward) -> str:
    """What names the scores of a reward."""
    return hashlib.sha256(reward.identity.encode()).hexdigest()[:8]


def _name(key: Key) -> str:
    return ":".join(map(str, key))
