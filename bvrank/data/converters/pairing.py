"""What the converters to pairs share: a draft of a pair, and one pair out of many responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bvrank.answers import Response, join
from bvrank.data.converters import Draft
from bvrank.data.grouping import dice
from bvrank.data.refusals import NO_PREFERENCE, WEAK, Unfit
from bvrank.data.sides import Columns, Turns, read_pair
from bvrank.data.split import opening_key
from bvrank.data.turns import written_prompt
from bvrank.data.views import pair
from bvrank.errors import ConfigError
from bvrank.records import FULL

Pick = Literal["best_worst", "best_random"]
PAIR = Columns()


def drafted(where: str, prompt: Turns, chosen: Any, rejected: Any, group: str = "") -> Draft:
    """The draft of a pair whose sides are texts, messages or {think, answer}; all pairs of one
    dialogue share a key. Unfit when it could not be read again."""
    row = {"prompt": written_prompt(prompt), "chosen": chosen, "rejected": rejected}
    example = pair(where, *read_pair(row, "prompt", PAIR), FULL)
    keys = (f"text|{opening_key(example)}",)
    if not group:
        return Draft(where, keys, row)
    return Draft(where, (*keys, f"group|{group}"), row | {"group": group})


def redrafted(where: str, row: Mapping[str, Any], form: str, group: str = "") -> Draft:
    """The draft of a pair that lies in one of the forms of bvrank.data.sides. Raises Unfit."""
    prompt, sides = read_pair(row, form, PAIR)
    if any(len(side) != 1 for side in sides):
        raise Unfit("wrong_type", "a side holds several responses")
    chosen, rejected = (written(side[0]) for side in sides)
    return drafted(where, prompt, chosen, rejected, group)


def written(response: Response) -> Any:
    """A response as it stands in a row: a trace apart from its answer."""
    if response.trace is None:
        return response.answer
    if not response.trace:
        return join("", response.answer or "")
    return {"think": response.trace, "answer": response.answer}


def check_gap(gap: float) -> None:
    """ConfigError when `min_gap` is no difference of scores."""
    if not 0 <= gap < float("inf"):
        raise ConfigError(f"must be 0 or more, got {gap}", where="min_gap")


def check_apart(better: Any, worse: Any, min_gap: float) -> None:
    """Unfit when two scores tie, stand the wrong way round, or are too close. A score that is
    absent says nothing."""
    if better is None and worse is None:
        return
    gap = score(better, "the score of chosen") - score(worse, "the score of rejected")
    if gap == 0:
        raise Unfit(NO_PREFERENCE, "chosen and rejected have the same score")
    if gap < 0:
        raise Unfit("bad_score", f"rejected has a score {-gap:g} above that of chosen")
    if gap < min_gap:
        raise Unfit(WEAK, f"the scores differ by {gap:g}")


def score(value: Any, name: str) -> float:
    """A finite number, which may be written as text. Raises Unfit."""
    try:
        found = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        found = float("nan")
    if abs(found) < float("inf"):  # NaN fails this too
        return found
    raise Unfit("bad_score", f"{name} is {str(value)[:40]!r}, not a number")


def picked(
    scored: Sequence[tuple[float, str]], pick: Pick, min_gap: float, seed: int, prompt: str
) -> tuple[str, str]:
    """The chosen and the rejected of several responses. Unfit when none is better by the gap.

    The best against the worst, or against one at random of those below it; ties are broken and
    draws made by content and seed, so that the order of the responses does not matter.
    """
    once = sorted(set(scored))
    if len(once) < 2:
        raise Unfit("too_few", f"there are {len(once)} different responses, and a pair needs two")
    draw = dice(seed, prompt)
    draw.shuffle(once)
    best = max(once, key=lambda s: s[0])
    below = [s for s in once if s[0] < best[0]]
    if not below:
        raise Unfit(NO_PREFERENCE, "all responses have the same score")
    far = [s for s in below if best[0] - s[0] >= min_gap]
    if not far:
        raise Unfit(WEAK, f"no response is {min_gap:g} below the best")
    worst = min(far, key=lambda s: s[0]) if pick == "best_worst" else draw.choice(far)
    return best[1], worst[1]
