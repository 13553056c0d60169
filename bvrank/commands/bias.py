"""Whether length alone gives the better side of a pair away.

The rule: a warning when, over at least LEAST pairs, one side is the longer one in more than SHARE
of them, or the mean difference in tokens is more than EFFECT standard deviations of the differences
(Cohen's d for pairs). At LEAST pairs either is beyond chance already (a sign test of 9 in 10 gives
p = 0.02; d = 0.8 is t = 2.5 at 9 degrees of freedom); smaller gaps, however sure, are told as a
figure and not warned of, since every large file has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
        often = max(self.longer, self.shorter) > SHARE
        return self.difference.n >= LEAST and (often or abs(self.effect) > EFFECT)

    @property
    def side(self) -> Literal["longer", "shorter"]:
        """What the chosen part is: in most pairs, or in the mean."""
        if max(self.longer, self.shorter) > SHARE:
            return "longer" if self.longer > self.shorter else "shorter"
        return "longer" if self.difference.mean > 0 else "shorter"


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
    share, sign = (found.longer, 1) if found.side == "longer" else (found.shorter, -1)
    widest = sorted(pairs, key=lambda p: -sign * p.difference)
    return Finding(
        "lengths", f"{part}_length", "warning",
        f"the chosen {part} is the {found.side} one in {share:.0%} of the pairs of view {view}: "
        f"{told(found)} tokens, d {found.effect:+.2f}; the largest gaps:",
        "The model can learn length in place of quality: sample both sides alike, or balance the "
        "pairs; an objective that divides by length helps.",
        len(pairs),
        tuple(Flaw(p.where, f"{part}_length", f"{p.chosen} against {p.rejected}") for p in widest),
        unit="",
    )  # fmt: skip
