"""Whether length alone gives the better side of a pair away.

The rule: a warning when, over at least LEAST pairs, the 95 % interval of the mean difference in
tokens (Student's t, paired) leaves out 0, and either one side is the longer one in more than SHARE
of the pairs, or the mean difference is more than EFFECT standard deviations of the differences
(Cohen's d for pairs). The interval alone would warn of every large file, the effect alone of
chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bvrank.data.flaws import Finding, Flaw
from bvrank.data.gaps import Lengths
from bvrank.reports.spread import Spread, spread

LEAST, SHARE, EFFECT = 10, 0.8, 0.8


@dataclass(frozen=True)
class Gap:
    """The difference chosen less rejected, in tokens, and how often either side is longer."""

    difference: Spread
    longer: float
    shorter: float

    @property
    def effect(self) -> float:
        """Cohen's d of paired differences; infinite where all are equal and not 0."""
        mean, std = self.difference.mean, self.difference.std
        return mean / std if std else (float("inf") if mean else 0.0)

    @property
    def large(self) -> bool:
        """Whether the rule on top of this file warns."""
        half = self.difference.half
        if self.difference.n < LEAST or half is None or abs(self.difference.mean) <= half:
            return False
        return max(self.longer, self.shorter) > SHARE or abs(self.effect) > EFFECT


def gap(pairs: Sequence[Lengths]) -> Gap:
    """The Gap of one pair or more."""
    n = len(pairs)
    longer = sum(p.difference > 0 for p in pairs) / n
    shorter = sum(p.difference < 0 for p in pairs) / n
    return Gap(spread(p.difference for p in pairs), longer, shorter)


def told(found: Gap) -> str:
    """The mean difference in tokens with its 95 % interval."""
    half = found.difference.half
    return f"{found.difference.mean:+.1f}" + ("" if half is None else f" \u00b1 {half:.1f}")


def finding(view: str, part: str, pairs: Sequence[Lengths]) -> Finding | None:
    """The warning, with the rows of the largest differences; None when the gap is not large."""
    found = gap(pairs)
    if not found.large:
        return None
    side = "longer" if found.difference.mean > 0 else "shorter"
    share = found.longer if side == "longer" else found.shorter
    sign = 1 if side == "longer" else -1
    widest = sorted(pairs, key=lambda p: -sign * p.difference)
    return Finding(
        "lengths", f"{part}_length", "warning",
        f"the chosen {part} is the {side} one in {share:.0%} of the pairs of view {view}: "
        f"{told(found)} tokens, d {found.effect:+.2f}; the largest gaps",
        "The model can learn length in place of quality: sample both sides alike, or balance the "
        "pairs; an objective that divides by length helps.",
        len(pairs),
        tuple(Flaw(p.where, f"{part}_length", f"{p.chosen} against {p.rejected}") for p in widest),
    )  # fmt: skip
