"""A statement of the theory and how far figures are from it; nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A statement, how far the figures are from it at most, and how far they may be. `why` it was
    not checked, where it was not."""

    theorem: str
    says: str
    largest: float
    tolerance: float
    why: str = ""

    @property
    def holds(self) -> bool:
        """NaN does not, nor what was not checked."""
        return not self.why and self.largest <= self.tolerance

    @property
    def violated(self) -> bool:
        """Checked, and does not hold."""
        return not self.why and not self.holds


def worst(found: Iterable[Check]) -> list[Check]:
    """Of each statement the largest violation, NaN if there is one, in the order of their first
    appearance."""
    kept: dict[tuple[str, str], Check] = {}
    for check in found:
        key = (check.theorem, check.says)
        earlier = kept.get(key)
        if earlier is None or not (math.isnan(earlier.largest) or check.largest <= earlier.largest):
            kept[key] = check
    return list(kept.values())
