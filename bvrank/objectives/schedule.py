"""Any numeric field of any objective as a function of training progress."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from bvrank.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Schedule:
    """`points[field]` are values spread evenly over the run, joined by straight lines. A field of
    an objective inside the objective is named with a dot: `loss.beta`.

    ConfigError for a field that the objective lacks or that is no number, and for a value that
    the objective itself refuses.
    """

    objective: Any
    points: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        numbers = _numbers(self.objective)
        for name, values in self.points.items():
            if name not in numbers:
                raise ConfigError(
                    f"'{name}' is not a number that {type(self.objective).__name__} has",
                    where=f"schedule.{name}", repair=did_you_mean(name, numbers),
                )  # fmt: skip
            for value in values:
                self._check(name, value)

    def values(self, progress: float) -> dict[str, float]:
        """Field values at `progress` in [0, 1]."""
        return {n: self._typed(n, _at(v, progress)) for n, v in self.points.items()}

    def at(self, progress: float) -> Any:
        """The objective at `progress`."""
        found = self.objective
        for name, value in self.values(progress).items():
            found = _with(found, name, value)
        return found

    def variants(self) -> tuple[Any, ...]:
        """One objective of the run for each set of views that it reads along the way."""
        found = {self.at(p).views: self.at(p) for p in (i / 64 for i in range(65))}
        return tuple(found.values())

    def views(self) -> tuple[str, ...]:
        """Every view the objective asks for anywhere along the run."""
        ends = [1.0, 0.0, 0.5, *(i / 64 for i in range(65))]
        found = {v for p in ends for v in self.at(p).views}
        order = dict.fromkeys(v for p in ends for v in self.at(p).views)
        return tuple(sorted(found, key=["full", "bare", *order].index))

    def _check(self, name: str, value: float) -> None:
        try:
            _with(self.objective, name, self._typed(name, value))
        except ConfigError as error:
            where = f"schedule.{name}"
            raise ConfigError(error.what, where=where, repair=error.repair) from None

    def _typed(self, name: str, value: float) -> float:
        return round(value) if _numbers(self.objective)[name] in (int, "int") else float(value)


def parse_schedule(objective: Any, node: Mapping[str, Any]) -> Schedule:
    """A Schedule from `{field: [from, to]}` (or more points). ConfigError otherwise."""
    points = {}
    for name, values in _flat(node):
        good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) >= 2
        if not good or not all(_is_number(v) for v in values):
            raise ConfigError(
                f"must be two or more finite numbers, got {values!r}", where=f"schedule.{name}",
                repair=f"For instance 'schedule.{name}=[1.0,0.5]': from, to, over the run.",
            )  # fmt: skip
        points[name] = tuple(float(v) for v in values)
    return Schedule(objective, points)


def _at(values: tuple[float, ...], progress: float) -> float:
    spot = min(max(progress, 0.0), 1.0) * (len(values) - 1)
    left = min(int(spot), len(values) - 2)
    a, b, share = values[left], values[left + 1], spot - left
    # From the nearer end: a + 1.0 * (b - a) need not be b, and b may be the end of a range.
    return a + share * (b - a) if share < 0.5 else b - (1 - share) * (b - a)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(objective: Any, prefix: str = "") -> dict[str, Any]:
    """The fields that hold a number, or may, with their annotations."""
    found: dict[str, Any] = {}
    for f in fields(objective):
        value = getattr(objective, f.name)
        if is_dataclass(value):
            found |= _numbers(value, f"{prefix}{f.name}.")
        elif _is_number(value) or f.type in (float | None, "float | None"):
            found[prefix + f.name] = f.type
    return found


def _with(objective: Any, name: str, value: float) -> Any:
    """The objective with another value of a field, which may lie inside of it."""
    outer, _, inner = name.partition(".")
    new = _with(getattr(objective, outer), inner, value) if inner else value
    return replace(objective, **{outer: new})


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
