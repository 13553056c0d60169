"""Axes of a drawing: what range is shown, where its ticks stand, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

WIDE = 20.0  # times the range of the middle 96 %: beyond it extremes are not followed
FAR = 4000.0  # pixels: what lies farther out is drawn there, where nobody sees it


@dataclass(frozen=True)
class Axis:
    """The range `low` to `high` laid on pixels `start` to `end` (which may run backwards)."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return min(FAR, max(-FAR, self.start + share * (self.end - self.start)))

    def shows(self, value: float) -> bool:
        """Whether the value lies within the range."""
        return self.low <= value <= self.high

    def ticks(self, count: int, whole: bool = False) -> list[float]:
        """About `count` round values within the range; `whole`: no fractions."""
        step = round_step((self.high - self.low) / count)
        step = max(1.0, step) if whole else step
        slack = 1e-9 * min(1.0, (self.high - self.low) / step)  # a step may be wider than the range
        first = math.ceil(self.low / step - slack)
        last = math.floor(self.high / step + slack)
        return [k * step for k in range(first, last + 1)]


def limits(values: Iterable[float]) -> tuple[float, float]:
    """The range that shows `values`, with some air; a few wild ones do not flatten the rest."""
    found = sorted(v for v in values if math.isfinite(v))
    if not found:
        return 0.0, 1.0
    low, high = found[0], found[-1]
    inner = found[len(found) // 50], found[-1 - len(found) // 50]
    core = inner[1] - inner[0]
    if core > 0 and high - low > WIDE * core:
        low, high = max(low, inner[0] - core), min(high, inner[1] + core)
    air = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air, high + air


def round_step(width: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def labels(ticks: list[float]) -> list[str]:
    """The ticks as text, all with as many decimal places as their distance asks for."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1.0
    most = max(map(abs, ticks), default=0.0)
    if most >= 1e6 or 0 < most < 1e-4:
        return [f"{t:.3g}" for t in ticks]
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    return [f"{t + 0.0:,.{places}f}" if t else "0" for t in ticks]
