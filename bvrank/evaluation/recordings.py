"""Recorded files hold one model, and everything once: what else they hold is told, not mixed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from bvrank.errors import DataError

T = TypeVar("T")


def chosen(rows: Sequence[tuple[str, T]], model: str | None, path: str,
           key: str | None = "judge.model") -> list[T]:  # fmt: skip
    """The rows of `model` out of (its name, row); of the only one that is there where it is None.
    DataError where there are several, or where nothing is of `model`; `key` chooses one."""
    there = list(dict.fromkeys(name for name, _ in rows))
    told = ", ".join(there[:4]) + (", ..." if len(there) > 4 else "")
    if model is None and len(there) > 1:
        raise DataError(f"holds {len(there)} models: {told}", where=path,
                        repair=f"Choose one: {key}='{there[0]}'." if key else
                        "Keep the rows of one in a file of its own.")  # fmt: skip
    if model is not None and model not in there:
        raise DataError(f"holds nothing of {model}, but of {told or 'nobody'}", where=path,
                        repair=f"Name another one: {key}=...")  # fmt: skip
    return [row for name, row in rows if model in (None, name)]


def once(keys: Iterable[str], path: str) -> None:
    """DataError for a key that comes twice."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            told = key if len(key) < 60 else f"{key[:57]}..."
            raise DataError(f"holds '{told}' twice", where=path,
                            repair="Keep one row of each, by one judge.")  # fmt: skip
        seen.add(key)
