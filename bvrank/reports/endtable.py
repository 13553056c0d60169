"""What a finished run says: the table at the end of `bvrank train`, read from summary.json.

    {"first": {flat name: number},            figures of the first logged step
     "final": {flat name: number},            figures of the last one; eval/... from held-out rows
     "best": {"metric": name, "value": number, "step": number},
     "accuracy": {"thinking": {"before": MEASURES, "after": MEASURES, "gain": {"avg@4": FIGURE}},
                  "nothinking": {...}},
     "rows": {"kept": number, "refused": {reason: number}},
     "seconds": number,
     "next": "bvrank ..."}

    MEASURES  {"avg@4": FIGURE, "greedy": FIGURE, "trace_tokens": number, "closed_rate": number}
    FIGURE    {"value": number, "n": problems, "stderr": number, "interval": [low, high]}

Every part may be missing; what is there is shown. `gain` carries an interval paired over problems;
without it the interval is the wider one of two independent measurements. Without `first` the first
line of metrics.jsonl that has a figure stands in, without `rows` the manifest's `data`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bvrank.reports.figures import MODES, is_number, mapping, sampled, views
from bvrank.reports.rows import MISSING
from bvrank.run import RunRecord

# title, figure, factor, decimal places
VIEW: tuple[tuple[str, str, float, int], ...] = (
    ("margin", "{view}/rewards/margins", 1.0, 2),
    ("ranked right, %", "{view}/rewards/accuracies", 100.0, 0),
    ("held out, %", "eval/{view}/rewards/accuracies", 100.0, 0),
    ("chosen moved", "{view}/displacement/chosen", 1.0, 2),
    ("rejected moved", "{view}/displacement/rejected", 1.0, 2),
)
ALONE: tuple[tuple[str, str, float, int], ...] = (  # where there is no reference to move from
    ("log p chosen", "{view}/logps/chosen", 1.0, 1),
    ("log p rejected", "{view}/logps/rejected", 1.0, 1),
)
MEANING = (
    "  ranked right: pairs whose better side scores higher, a tie counts half; moved: nats from the"
    " reference; each step is a batch of its own."
)
Z = 1.959964  # the normal distribution's 0.975 quantile: n is in the hundreds


def end_table(record: RunRecord) -> Group:
    """The closing screen of a run: accuracy, views, held-out figures, folder, next command."""
    parts: list[RenderableType] = []
    if accuracy := mapping(record.summary.get("accuracy")):
        parts += [_accuracy(accuracy), *_remarks(accuracy)]
    parts += _training(record)
    parts.append(Text("\n".join(_closing(record)), overflow="fold"))
    return Group(*parts)


def _accuracy(accuracy: Mapping[str, Any]) -> Table:
    measure = _sampled(accuracy)
    made = _table("Accuracy of the final answer, %")
    for head in ("", f"{measure} before", "after", "gain", "greedy", "trace tokens"):
        made.add_column(Text(head), justify="right" if head else "left", no_wrap=True)
    for mode, moments in accuracy.items():
        before, after = (mapping(mapping(moments).get(m)) for m in ("before", "after"))
        gain = mapping(mapping(moments).get("gain")).get(measure)
        gain = gain or _difference(before.get(measure), after.get(measure))
        made.add_row(
            Text(MODES.get(mode, mode)),
            _percent(before.get(measure)),
            _percent(after.get(measure)),
            _percent(gain, sign="+"),
            _change(100, 1, _value(before.get("greedy")), _value(after.get("greedy"))),
            _change(1, 1, _value(before.get("trace_tokens")), _value(after.get("trace_tokens"))),
        )
    return made


def _remarks(accuracy: Mapping[str, Any]) -> Iterator[Text]:
    moments = [mapping(mapping(m).get(w)) for m in accuracy.values() for w in ("before", "after")]
    counts = [mapping(m.get(_sampled(accuracy))).get("n") for m in moments]
    numbers = sorted({int(n) for n in counts if is_number(n)})
    if numbers:
        n = "-".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
        yield Text(f"  {n} problems per mode; ± is half of a 95 % interval.", style="dim")
    for mode, pair in accuracy.items():
        before, after = (
            mapping(mapping(pair).get(w)).get("closed_rate") for w in ("before", "after")
        )
        if is_number(after) and after < 1:
            change = _change(100, 1, before, after)
            yield Text(f"  {MODES.get(mode, mode)}: traces that end, %: {change}", style="dim")


def _training(record: RunRecord) -> Iterator[RenderableType]:
    first, final = _first(record), mapping(record.summary.get("final"))
    if names := views(final):
        made = _table("Training, first step → last")
        columns = [c for c in VIEW if any(_key(c[1], view) in final for view in names)]
        if not any("displacement" in c[1] for c in columns):
            columns += [c for c in ALONE if any(_key(c[1], view) in final for view in names)]
        for head in ("view", *(c[0] for c in columns)):
            made.add_column(head, justify="left" if head == "view" else "right", no_wrap=True)
        for view in names:
            keyed = [(_key(template, view), factor, p) for _, template, factor, p in columns]
            cells = [_change(f, p, first.get(k), final.get(k)) for k, f, p in keyed]
            made.add_row(Text(view or "all"), *cells)
        yield made
        if any("rewards" in c[1] for c in columns):
            yield Text(MEANING, style="dim")
    for name, key in (("training loss", "loss"), ("held-out loss", "eval/loss")):
        if key in final:
            yield Text(f"  {name}: {_change(1, 4, first.get(key), final[key])}")


def _key(template: str, view: str) -> str:
    return template.replace("{view}/", f"{view}/" if view else "")


def _closing(record: RunRecord) -> Iterator[str]:
    summary = record.summary
    yield from _rows(mapping(summary.get("rows")) or mapping(record.manifest.get("data")))
    best = mapping(summary.get("best"))
    if is_number(best.get("value")):
        yield f"  best {best.get('metric')}: {best['value']:.4f} at step {best.get('step')}"
    seconds = summary.get("seconds", record.manifest.get("seconds"))
    took = f" ({seconds:.0f} s)" if is_number(seconds) else ""
    yield f"  run folder: {record.path}{took}"
    if following := summary.get("next"):
        yield f"  next: {following}"


def _rows(rows: Mapping[str, Any]) -> Iterator[str]:
    if is_number(rows.get("kept")):
        refused = mapping(rows.get("refused"))
        reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
        total = sum(c for c in refused.values() if is_number(c))
        yield f"  rows: {rows['kept']} kept, {total} refused{f' ({reasons})' if reasons else ''}"


def _first(record: RunRecord) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for line in record.metrics:
        for key, value in line.items():
            found.setdefault(key, value)
    return {**found, **mapping(record.summary.get("first"))}


def _sampled(accuracy: Mapping[str, Any]) -> str:
    pairs = [mapping(m) for m in accuracy.values()]
    return sampled(name for p in pairs for w in ("after", "before") for name in mapping(p.get(w)))


def _difference(before: Any, after: Any) -> Mapping[str, Any] | None:
    a, b = _value(before), _value(after)
    if a is None or b is None:
        return None
    halves = [_half(before), _half(after)]
    half = math.hypot(*(h for h in halves if h is not None)) if None not in halves else None
    gain = b - a
    return {"value": gain, **({"interval": [gain - half, gain + half]} if half is not None else {})}


def _half(figure: Any) -> float | None:
    """Half the width of a figure's interval, from its ends or its standard error."""
    ends, error = mapping(figure).get("interval"), mapping(figure).get("stderr")
    if isinstance(ends, list | tuple) and len(ends) == 2 and all(map(is_number, ends)):
        return float(ends[1] - ends[0]) / 2
    return Z * error if is_number(error) else None


def _value(figure: Any) -> float | None:
    value = mapping(figure).get("value") if isinstance(figure, Mapping) else figure
    return float(value) if is_number(value) else None


def _percent(figure: Any, sign: str = "") -> str:
    value, half = _value(figure), _half(figure)
    if value is None:
        return MISSING
    return f"{100 * value:{sign}.1f}" + (f" ± {100 * half:.1f}" if half is not None else "")


def _change(scale: float, places: int, before: Any, after: Any) -> str:
    known = [_rounded(scale * v, places) if is_number(v) else MISSING for v in (before, after)]
    return " → ".join(known) if is_number(after) and known[0] != MISSING else known[1]


def _rounded(value: float, places: int) -> str:
    """Without the sign of a zero."""
    return f"{round(value, places) + 0.0:.{places}f}"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE,
        padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
