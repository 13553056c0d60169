"""The numbers of one run: which there are, and in which order they are told.

Flat names: `accuracy/thinking/avg@4/before` from the summary's `accuracy`, and TRL's names
(`full/rewards/margins`, `eval/loss`) from its `final`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from bvrank.run import RunRecord

LARGEST = 2**1000  # JSON has integers of any size, a float ends at 2**1024
MODES = {"thinking": "Thinking", "nothinking": "NoThinking"}


def figures(record: RunRecord) -> dict[str, float]:
    """Every figure of a finished run by its flat name."""
    summary = record.summary
    found = dict(_accuracy(mapping(summary.get("accuracy"))))
    found |= {k: v for k, v in mapping(summary.get("final")).items() if is_number(v)}
    seconds = summary.get("seconds", record.manifest.get("seconds"))
    return found | ({"seconds": seconds} if is_number(seconds) else {})


def views(names: Iterable[str]) -> list[str]:
    """The views that report rewards, in order: `full`, `bare`; "" where no name carries a view."""
    ends = ("rewards/margins", "logps/chosen")
    found = (n.removesuffix(e).rstrip("/") for n in names for e in ends if n.endswith(e))
    every = list(dict.fromkeys(v for v in found if v.partition("/")[0] != "eval"))
    return [v for v in every if v] or every  # the pooled figure says nothing that views do not


def sampled(names: Iterable[str]) -> str:
    """The sampled measure among measures' names: avg@4, or another k."""
    return next((n for n in names if n.startswith("avg@")), "avg@4")


def told(name: str, value: float) -> str:
    """A figure as text: shares in percent, seconds whole, the rest to three places."""
    if name.endswith(", %"):  # of an evaluation, in per cent already
        return f"{value:.1f}"
    if is_share(name):
        return f"{100 * value:{'+' if name.endswith('/gain') else ''}.1f}"
    return f"{value:.0f}" if name == "seconds" else f"{value:.3f}"


def is_share(name: str) -> bool:
    """Whether a figure is a share, told in percent."""
    return name.endswith("accuracies") or (
        name.startswith("accuracy/") and "trace_tokens" not in name
    )


def _accuracy(accuracy: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for mode, moments in accuracy.items():
        before, after = (mapping(mapping(moments).get(m)) for m in ("before", "after"))
        for measure in dict.fromkeys([*before, *after]):
            a, b = _value(before.get(measure)), _value(after.get(measure))
            gain = None if a is None or b is None else b - a
            for moment, value in (("before", a), ("after", b), ("gain", gain)):
                if value is not None:
                    yield f"accuracy/{mode}/{measure}/{moment}", value


def _value(figure: Any) -> float | None:
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return float(value) if is_number(value) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one: a summary may lack any part."""
    return value if isinstance(value, Mapping) else {}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a float, or an int that one can hold; a bool is not."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < LARGEST
    return isinstance(value, float)
