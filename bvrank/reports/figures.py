"""The numbers of one run: which there are, and in which order they are told.

Flat names: `accuracy/thinking/avg@4/before` from the summary's `accuracy`, and TRL's names
(`full/rewards/margins`, `eval/loss`) from its `final`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bvrank.run import RunRecord

MODES = {"thinking": "Thinking", "nothinking": "NoThinking"}

# What a table of runs shows, in this order; the groups are matched from the name's start.
ACCURACY = (r"accuracy/\w+/avg@\d+/(before|after|gain)", r"accuracy/\w+/greedy/(before|after)")
TRAINING = (
    r"loss", r"eval/loss", r"eval/.*accuracies", r"((?!eval/).*/)?rewards/accuracies",
    r"((?!eval/).*/)?rewards/margins", r"eval/.*margins", r"seconds",
)  # fmt: skip


def figures(record: RunRecord) -> dict[str, float]:
    """Every figure of a finished run by its flat name."""
    summary = record.summary
    found = dict(_accuracy(_mapping(summary.get("accuracy"))))
    found |= {k: v for k, v in _mapping(summary.get("final")).items() if _is_number(v)}
    seconds = summary.get("seconds", record.manifest.get("seconds"))
    return found | ({"seconds": seconds} if _is_number(seconds) else {})


def chosen(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that match one of `patterns`, in the order of the patterns, then as they come."""
    unique = list(dict.fromkeys(names))
    matched = (n for pattern in patterns for n in unique if re.fullmatch(pattern, n))
    return list(dict.fromkeys(matched))


def views(names: Iterable[str]) -> list[str]:
    """The views that report rewards, in order: `full`, `bare`; "" where names carry no view."""
    ends = ("rewards/margins", "logps/chosen")
    found = (n.removesuffix(e).rstrip("/") for n in names for e in ends if n.endswith(e))
    return list(dict.fromkeys(v for v in found if v.partition("/")[0] != "eval"))


def title(name: str) -> str:
    """How a table names a figure: `accuracy/thinking/avg@4/after` is `Thinking avg@4 after, %`."""
    kind, *parts = name.split("/")
    if kind == "accuracy" and len(parts) == 3:
        mode, measure, moment = parts
        return f"{MODES.get(mode, mode)} {measure} {moment}, %"
    return {"loss": "training loss", "eval/loss": "held-out loss"}.get(name, name)


def told(name: str, value: float) -> str:
    """A figure as text: accuracies of answers in percent, seconds whole, the rest to 3 places."""
    if name.startswith("accuracy/"):
        return f"{100 * value:{'+' if name.endswith('/gain') else ''}.1f}"
    return f"{value:.0f}" if name == "seconds" else f"{value:.3f}"


def _accuracy(accuracy: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for mode, moments in accuracy.items():
        before, after = (_mapping(_mapping(moments).get(m)) for m in ("before", "after"))
        for measure in dict.fromkeys([*before, *after]):
            a, b = _value(before.get(measure)), _value(after.get(measure))
            gain = None if a is None or b is None else b - a
            for moment, value in (("before", a), ("after", b), ("gain", gain)):
                if value is not None:
                    yield f"accuracy/{mode}/{measure}/{moment}", value


def _value(figure: Any) -> float | None:
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return float(value) if _is_number(value) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
