"""Numbers in range; ConfigError names the key of one that is not."""

from __future__ import annotations

import math

from bvrank.errors import ConfigError


def at_least(name: str, value: float | None, low: float, open_low: bool = False) -> None:
    """`value` (None: unset) is finite and at least `low`, or above it where `open_low`."""
    if value is None:
        return
    if not math.isfinite(value) or value < low or (open_low and value == low):
        bound = f"greater than {low:g}" if open_low else f"at least {low:g}"
        raise ConfigError(f"must be {bound}, got {value}", where=name)


def share(name: str, value: float, open_high: bool = False) -> None:
    """`value` lies in [0, 1], or below 1 where `open_high`."""
    if not 0.0 <= value <= 1.0 or (open_high and value == 1.0):
        raise ConfigError(f"must lie in [0, 1{')' if open_high else ']'}, got {value}", where=name)
