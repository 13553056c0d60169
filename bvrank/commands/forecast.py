"""`bvrank sample dry_run=true`: responses, tokens, hours and bytes before any work."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from bvrank.commands.sampling import Request

PILOT = 32  # tokens of each response of the pilot
LINE = 220  # bytes of a response line beside its text
ID = 6  # bytes of a kept token id


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
    from bvrank.commands.policies import load
    from bvrank.commands.prepare import is_taught
    from bvrank.commands.sample import prompts_of
    from bvrank.models.tiny import Tiny
    from bvrank.sampling.local import Work

    if isinstance(asked.model, Tiny) and not is_taught(asked.model, asked.store):
        print("the tiny model is taught first, once: a pilot of it says how fast it samples",
              file=sys.stderr)  # fmt: skip
    settings = asked.settings
    policy = load(asked) if asked.model is not None else None
    generator = asked.sampler.generator(policy)
    prompts, refused = prompts_of(asked, generator)
    work = Work(prompts, tuple(settings.modes), settings.n, settings.seed)
    told = [("prompts", f"{len(prompts):,} ({len(refused):,} refused or repeated)"),
            ("responses", f"{work.total:,}: {settings.n} in each of {', '.join(settings.modes)}"),
            ("answers to score", f"at most {work.total:,}")]  # fmt: skip
    most = getattr(asked.sampler, "max_new_tokens", None)
    if most is None:
        return told
    texts = [m.content for p in prompts for m in p.messages]
    read, wide = _tokens(texts, policy)
    made = work.total * most
    told += [
        ("prompt tokens", f"{'' if policy else 'about '}{read * len(settings.modes):,}"),
        ("new tokens", f"at most {made:,} ({most:,} a response)"),
        ("bytes", f"at most {_size(work.total * LINE + 3 * made * wide)}"),
    ]
    return [*told, ("hours", _hours(asked, work, generator, policy))]


def _tokens(texts: list[str], policy: Any) -> tuple[int, float]:
    """Tokens of the prompts, and bytes that a token stands for; four bytes where there is no
    tokenizer to ask."""
    size = sum(len(t.encode()) for t in texts)
    if policy is None:
        return size // 4, 4.0
    count = sum(map(len, policy.template.ids(texts)))
    return count, size / max(count, 1)


def _hours(asked: Request, work: Any, generator: Any, policy: Any) -> str:
    """By a pilot of the largest batch; by the limits of a server, where it has some."""
    if policy is None:
        minutes = asked.sampler.minutes(work.total)
        return "not known: the server sets the pace" if minutes is None else _time(60 * minutes)
    how = asked.sampler
    if not hasattr(generator, "pilot"):
        return f"not known: {type(how).__name__} is not started for a forecast"
    steps = min(PILOT, how.max_new_tokens)
    started = time.perf_counter()
    seen = generator.pilot(work, steps)
    rate = seen / (time.perf_counter() - started)
    tokens = work.total * how.max_new_tokens / asked.launcher.world
    return f"at most {_time(tokens / rate)} at {rate:,.0f} tokens a second, as a pilot of " + (
        f"{_some(seen, 'token')} had them; short responses take less, long ones slow down"
    )


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
