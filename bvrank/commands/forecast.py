"""`bvrank sample dry_run=true`: responses, tokens, hours and bytes before any work."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bvrank.commands.ground import Ground
from bvrank.commands.origin import check_own, holder, origin
from bvrank.commands.sampling import Request
from bvrank.records import Asked
from bvrank.run.record import is_run, read_manifest
from bvrank.sampling.responses import Judged, Made, Shelf

PILOT = 32  # tokens of each response of the pilot
LINE = 220  # bytes of a response line beside its text
LETTERS = 4  # bytes of a token where nothing tells


def forecast(asked: Request) -> int:
    """Prints the forecast; the policy is loaded, and one batch is drawn for its speed. Where all is
    there, nothing is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from bvrank.commands.sample import _is_finished

    if _is_finished(asked):
        print(f"{asked.folder}: already there, nothing would run (force=true samples again)")
        return 0
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, value in lines(asked):
        table.add_row(name, value)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)
    console.print(f"nothing was written; it would go to {asked.folder}", markup=False)
    return 0


def lines(asked: Request) -> list[tuple[str, str]]:
    """What it says, a name and a value each."""
    from bvrank.commands.ground import ground_of
    from bvrank.commands.policies import load
    from bvrank.commands.prepare import is_taught
    from bvrank.models.tiny import Tiny

    if isinstance(asked.model, Tiny) and not is_taught(asked.model, asked.store):
        print("the tiny model is taught first, once: a pilot of it says how fast it samples",
              file=sys.stderr)  # fmt: skip
    policy = load(asked) if asked.model is not None else None
    ground = ground_of(asked, policy)
    left = Left(asked, ground)
    told = [("prompts", f"{len(ground.prompts):,} ({len(ground.refused):,} refused or repeated)"),
            *_responses(asked, ground, left), *_scores(asked, left)]  # fmt: skip
    if ground.survey is None and left.draws:
        told += _drawing(asked, ground, left, policy)
    return told


class Left:
    """What there is to do beyond what the folder, or the one it would take over from (`place`),
    holds. `missing`: responses by mode and prompt; `unscored`: those of `place` to score; `fresh`:
    answers that will come, by prompt, with `length` tokens in all at most."""

    def __init__(self, asked: Request, ground: Ground) -> None:
        from bvrank.sampling.pipeline import candidates, responses_of, scores_of, to_score

        self.ground = ground
        self.place, scored = _place(asked, ground)
        self.made = responses_of(self.place) if self.place else Shelf((), Made)
        scores = scores_of(self.place, asked.reward) if scored and self.place else Shelf((), Judged)
        known = self.made.settled()
        self.there = len(self.made) - len(self.made.away)
        self.missing = Counter(
            (mode, p.row) for mode in asked.settings.modes for p in ground.prompts
            for copy in range(ground.n) if (mode, p.row, copy) not in known
        )  # fmt: skip
        self.fresh: Counter[int] = Counter()
        if ground.survey is None:
            for (_, row), count in self.missing.items():
                self.fresh[row] += count
            self.length = self.draws * getattr(asked.sampler, "max_new_tokens", 0)
        elif self.there < ground.survey.taken.total():
            self.fresh, self.length = ground.survey.answers, ground.survey.characters // LETTERS
        else:
            self.length = 0
        all_of = self.fresh.total() > 0  # of the others of a prompt nothing is known yet
        wanted = None if all_of else candidates(self.made, asked.settings.select, ground.fits)
        self.unscored = to_score(self.made, scores, wanted)

    @property
    def draws(self) -> int:
        """Responses that are not there."""
        return self.missing.total()

    def answers(self) -> Iterator[Asked]:
        """What a reward would be shown; answers that are to come are empty."""
        by_row = {p.row: p for p in self.ground.prompts}
        for m in self.made.get(self.unscored):
            prompt = by_row[m.row]
            yield Asked(":".join(map(str, m.key)), prompt.messages, m.answer, prompt.gold)
        for row, count in self.fresh.items():
            for n in range(count):
                yield Asked(f"{row}:{n}", by_row[row].messages, "", by_row[row].gold)


def _place(asked: Request, ground: Ground) -> tuple[Path | None, bool]:
    """Where responses would be found, and whether scores would be, too."""
    own = origin(asked.kept, ground.prompts)
    if asked.settings.force:
        return None, False
    if is_run(asked.folder) and any(asked.folder.glob("responses-*.jsonl")):
        check_own(asked.folder, read_manifest(asked.folder).get("responses"), own)
        return asked.folder, True
    return holder(asked.folder, own) or (None, False)


def _responses(asked: Request, ground: Ground, left: Left) -> Iterator[tuple[str, str]]:
    modes = ", ".join(asked.settings.modes)
    there = f"{left.there:,}, in {left.place}"
    if (survey := ground.survey) is not None:
        further = (
            f"; {n:,} beyond n={ground.n} are left out" if (n := survey.beyond.total()) else ""
        )
        yield "responses", f"{survey.taken.total():,} recorded ones; none is generated{further}"
        if left.there:
            yield "already read", there
        return
    total = len(ground.prompts) * len(asked.settings.modes) * ground.n
    yield "responses", f"{total:,}: {ground.n} in each of {modes}"
    if left.there:
        yield "already there", there
        yield "left to draw", f"{left.draws:,}"


def _scores(asked: Request, left: Left) -> Iterator[tuple[str, str]]:
    count = len(left.unscored) + left.fresh.total()
    yield "answers to score", f"at most {count:,}" if count else "none"
    if not count or not hasattr(asked.reward, "calls"):
        return
    judge = asked.reward
    calls, tokens = judge.calls(left.answers())
    tokens += judge.samples * left.length
    yield "judge calls", f"at most {calls:,}: {judge.samples} to each answer"
    written = calls * judge.decoding.max_tokens
    yield "judge tokens", f"at most about {tokens:,}, {written:,} of them written by the judge"
    yield "judge hours", _paced(judge.server, calls, tokens)


def _drawing(asked: Request, ground: Ground, left: Left, policy: Any) -> Iterator[tuple[str, str]]:
    most = asked.sampler.max_new_tokens
    # A server reads a prompt with every response, a policy in this process once in each mode.
    times = Counter(row for _, row in left.missing) if policy else left.fresh
    read, wide = _tokens(ground, times, policy)
    made = left.draws * most
    yield "prompt tokens", f"{'' if policy else 'about '}{read:,}"
    yield "new tokens", f"at most {made:,} ({most:,} a response)"
    yield "bytes", f"at most {_size(left.draws * LINE + 3 * made * wide)}"
    if policy is None:
        yield "hours", _paced(asked.sampler.server, left.draws, read + made)
    else:
        yield "hours", _hours(asked, ground, left.draws)


def _tokens(ground: Ground, times: Mapping[int, int], policy: Any) -> tuple[int, float]:
    """Tokens of the prompts, each so many times, and bytes that a token stands for; four where
    there is no tokenizer to ask."""
    texts = {p.row: [m.content for m in p.messages] for p in ground.prompts if times.get(p.row)}
    sizes = {row: sum(len(t.encode()) for t in found) for row, found in texts.items()}
    if policy is None:
        return sum(times[row] * size for row, size in sizes.items()) // LETTERS, float(LETTERS)
    counts = {row: sum(map(len, policy.template.ids(found))) for row, found in texts.items()}
    whole = sum(counts.values())
    read = sum(times[row] * count for row, count in counts.items())
    return read, sum(sizes.values()) / max(whole, 1)


def _hours(asked: Request, ground: Ground, draws: int) -> str:
    """By a pilot of the largest batch."""
    from bvrank.sampling.local import Work

    settings, how, generator = asked.settings, asked.sampler, ground.generator
    if not hasattr(generator, "pilot"):
        return f"not known: {type(how).__name__} is not started for a forecast"
    work = Work(ground.prompts, tuple(settings.modes), ground.n, settings.seed)
    steps = min(PILOT, how.max_new_tokens)
    started = time.perf_counter()
    seen = generator.pilot(work, steps)
    rate = seen / (time.perf_counter() - started)
    tokens = draws * how.max_new_tokens / asked.launcher.world
    return f"at most {_time(tokens / rate)} at {rate:,.0f} tokens a second, as a pilot of " + (
        f"{_some(seen, 'token')} had them; short responses take less, long ones slow down"
    )


def _paced(server: Any, calls: int, tokens: int) -> str:
    """What bounds the time of so many calls to a server, of so many tokens at most."""
    told = []
    if limit := server.requests_per_minute:
        told.append(f"at least {_time(60 * calls / limit)} by requests_per_minute={limit:g}")
    if limit := server.tokens_per_minute:
        told.append(f"{_time(60 * tokens / limit)} by tokens_per_minute={limit:g} if all are as "
                    "long as they may be")  # fmt: skip
    at_once = min(calls, server.concurrency)
    rounds = math.ceil(calls / server.concurrency)
    return "; ".join([*told, f"about {rounds:,} times as long as one call takes, with {at_once:,} "
                      "at once"])  # fmt: skip


def _time(seconds: float) -> str:
    if (whole := math.ceil(seconds)) < 60:
        return _some(whole, "second")
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours >= 1 else f"{seconds / 60:.1f} minutes"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
