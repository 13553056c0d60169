"""A suite's figures as tables of text. Every ratio is of medians, with the least and the most of
the ratios of steps of the same number in brackets: steps taken side by side where arms took turns,
which on an accelerator those of pairs and views do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bvrank.bench.result import DAMAGE, Arm, Cell, Result, not_a_measurement, recomputes

SPREAD = "times by medians [least, most of the ratios of steps taken side by side]"
APART = (
    "each arm ran alone, one after another: a device's memory does not hold them together; times "
    "by medians [least, most of the ratios of steps of the same number]"
)
STOPPED = "stopped before its end: settings are missing"


@dataclass(frozen=True)
class Table:
    """Lines of text under heads; the first `names` columns are no figures."""

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    names: int = 1


def tables(result: Result) -> list[Table]:
    """The tables of a suite. DataError when it lacks a figure."""
    try:
        if result.suite not in SUITES:
            raise ValueError(f"there is no suite {result.suite!r}")
        found = list(SUITES[result.suite](result))
    except DAMAGE as error:
        raise not_a_measurement(error, Path(f"{result.suite}.json")) from error
    if not result.whole:
        found = [replace(table, notes=(*table.notes, STOPPED)) for table in found]
    return found


def _lists(result: Result) -> Iterator[Table]:
    lines = []
    for cell in result.cells:
        forest, causal = cell.arms["forest"], cell.arms["causal"]
        lines.append((
            str(cell.setting["prompt"]), str(cell.setting["items"]), digits(1000 * forest.median),
            times(cell.arms["rows"], forest), times(cell.arms["dense"], forest),
            times(forest, causal), str(len(forest.seconds)),
        ))  # fmt: skip
    heads = ("prompt", "items", "forest ms", "a row per item", "and all logits",
             "over one causal pass", "steps")  # fmt: skip
    title = f"A step on a list, forward and backward, {_on(result)}"
    yield Table(title, heads, tuple(lines), (SPREAD,), names=2)


def _versus(result: Result) -> Iterator[Table]:
    for cell in result.cells:
        own = min((a for n, a in cell.arms.items() if n.startswith("bvrank")),
                  key=lambda arm: arm.median)  # fmt: skip
        lines = [
            (name, digits(arm.median), spread(arm),
             "" if arm is own else times(arm, own), megabytes(arm.peak), megabytes(arm.above),
             str(len(arm.seconds)))
            for name, arm in cell.arms.items()
        ]  # fmt: skip
        heads = (
            "arm",
            "s a step",
            "least-most",
            "over bvrank",
            "peak MB",
            "above start MB",
            "steps",
        )
        what = "DPO" if cell.setting["views"] == "full" else "BVPO, TRL in a pass for each view"
        title = f"{what}: {cell.setting['batch']} pairs a step, {_on(result)}"
        together = APART if "accelerator" in result.machine else SPREAD
        yield Table(title, heads, tuple(lines), (together, *_notes(cell, own)))


def _notes(cell: Cell, own: Arm) -> Iterator[str]:
    facts = cell.facts
    rate = facts["flops"] / sum(own.seconds)
    yield (
        f"bvrank: {facts['tokens'] / sum(own.seconds):,.0f} unique tokens a second; model "
        f"operations on unique tokens {rate / 1e9:,.0f} G a second, {rate / facts['matmul']:.2f} "
        f"of a matrix product's {facts['matmul'] / 1e9:,.0f} G"
    )
    yield from agreed(facts)
    screen = {n.removeprefix("screen/"): s for n, s in facts.items() if n.startswith("screen/")}
    if screen:
        told = ", ".join(f"{n.removeprefix('trl ')} {s:.1f} s" for n, s in screen.items())
        yield f"TRL's settings, the faster of two steps: {told}"


def agreed(facts: Mapping[str, float]) -> Iterator[str]:
    """How far losses agreed, where that was kept."""
    for kind, whose in (("losses", "losses of one step"),
                        ("passes", "TRL's pass on one view and bvrank's on that view alone: losses")
                        ):  # fmt: skip
        if f"{kind}/apart" not in facts:
            continue
        apart, allowed, moved = (facts[f"{kind}/{n}"] for n in ("apart", "allowed", "moved"))
        weak = ", which is too little to tell" if moved <= allowed else ""
        yield (f"{whose} differ by {apart:.2g} nats at most, {allowed:.2g} is allowed; "
               f"they move by {moved:.2g}{weak}")  # fmt: skip


def _memory(result: Result) -> Iterator[Table]:
    lines = []
    beside = any(n.startswith("trl") for cell in result.cells for n in cell.arms)
    for cell in result.cells:
        for name, arm in cell.arms.items():
            line = [f"{cell.setting['vocabulary']:,}", f"{cell.setting['scored']:,}", name,
                    megabytes(arm.peak), megabytes(arm.above)]  # fmt: skip
            peer = _alike(cell, name)
            if peer is not None:
                line += [f"{arm.peak / peer.peak:.3f}", f"{arm.above / peer.above:.3f}"]
            lines.append((*line, *[""] * (2 if beside and peer is None else 0)))
    heads = ("vocabulary", "scored tokens", "arm", "peak MB", "above start MB", "peak, of TRL's",
             "above start, of TRL's")  # fmt: skip
    width = max(map(len, lines))
    title = f"Memory of a step on one pair, {_on(result)}"
    notes = ["peak: of the whole process; above start: beyond what was resident before step 1; "
             "each arm ran alone"]  # fmt: skip
    if beside:
        notes.append(
            "of TRL's: of its arm that computes activations again where bvrank's does, else of the "
            "one that keeps them; TRL computes them again unless told otherwise"
        )
    notes += agreed(_worst([cell.facts for cell in result.cells]))
    yield Table(title, heads[:width], tuple(lines), tuple(notes), names=3)


def _worst(facts: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Of several settings: the one whose losses came nearest to what is allowed."""
    kept = [f for f in facts if "losses/apart" in f]
    return max(kept, key=lambda f: f["losses/apart"] / f["losses/allowed"], default={})


def _alike(cell: Cell, name: str) -> Arm | None:
    """TRL's arm that treats activations as bvrank's of that name does."""
    if name.startswith("trl"):
        return None
    again = recomputes(name)
    peers = {other: arm for other, arm in cell.arms.items() if other.startswith("trl")}
    return next((arm for other, arm in peers.items() if recomputes(other) == again), None)


def _growth(result: Result) -> Iterator[Table]:
    kinds = dict.fromkeys(str(cell.setting["grows"]) for cell in result.cells)
    for kind in kinds:
        cells = [c for c in result.cells if c.setting["grows"] == kind]
        line = fitted(cells)
        lines = []
        for number, cell in enumerate(cells):
            arm, tokens = cell.arms["step"], cell.facts["tokens"]
            told = [f"{cell.setting['size']:,}", digits(1000 * arm.median), spread(arm, 1000),
                    str(len(arm.seconds))]  # fmt: skip
            if line is not None:
                share = arm.median / line[number]
                told += [f"{tokens:,.0f}", f"{1e6 * arm.median / tokens:,.0f}", f"{share:.2f}"]
            lines.append(tuple(told))
        heads = (kind, "ms a step", "least-most", "steps", "unique tokens", "us a token",
                 "over the line")  # fmt: skip
        notes = (
            ("the line: seconds = a tokens + b attended pairs, least squares of relative errors",)
            if line is not None else ("drawing and laying out a batch of 64 pairs; no model",)
        )  # fmt: skip
        title = f"Cost by {kind}, {_on(result)}"
        yield Table(title, heads[: len(lines[0])], tuple(lines), notes)


def fitted(cells: Sequence[Cell]) -> list[float] | None:
    """Seconds of each cell by the best line in tokens and pairs; None where there are none. Neither
    slope is negative."""
    work = np.array([[c.facts["tokens"], c.facts["pairs"]] for c in cells], float)
    if not work.any():
        return None
    seconds = np.array([c.arms["step"].median for c in cells])
    relative, ones = work / seconds[:, None], np.ones(len(cells))
    slopes, *_ = np.linalg.lstsq(relative, ones, rcond=None)
    if slopes.min() < 0:  # then the best line has one term
        alone = np.diag(relative.sum(0) / np.maximum((relative**2).sum(0), 1e-300))
        slopes = min(alone, key=lambda term: float(((relative @ term - 1) ** 2).sum()))
    found: list[float] = (work @ slopes).tolist()
    return found


def _start(result: Result) -> Iterator[Table]:
    lines = tuple(
        (str(cell.setting["command"]), digits(arm.median), spread(arm), str(len(arm.seconds)))
        for cell in result.cells for arm in cell.arms.values()
    )  # fmt: skip
    yield Table("How soon a command answers", ("command", "s", "least-most", "times"), lines,
                ("first step: of the default run, from a warm store",))  # fmt: skip


def _ranks(result: Result) -> Iterator[Table]:
    for cell in result.cells:
        (one, first), (two, second) = cell.arms.items()
        pace = first.median / second.median
        lines = (
            (one, digits(first.median), spread(first), "", str(len(first.seconds))),
            (two, digits(second.median), spread(second), f"{pace:.2f}x", str(len(second.seconds))),
        )
        setting = cell.setting
        each = int(setting.get("threads", 1))
        many = "A thread" if each == 1 else f"{each} threads"
        title = f"{many} for each rank, {setting['batch']} pairs a step, {setting['engine']}"
        heads = ("ranks", "s a step", "least-most", "faster", "steps")
        yield Table(title, heads, lines, ("faster: by the medians",))


def digits(value: float) -> str:
    """To three digits, or whole: a step may take a minute or a millisecond."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def spread(arm: Arm, scale: int = 1) -> str:
    """The least and the most of its seconds, times `scale`."""
    return f"{digits(scale * min(arm.seconds))}-{digits(scale * max(arm.seconds))}"


def megabytes(size: int) -> str:
    """In 10^6 bytes; nothing where it was not measured."""
    return f"{size / 1e6:,.0f}" if size else ""


def times(slow: Arm, fast: Arm) -> str:
    """How many times slower, with its range."""
    middle, low, high = slow.over(fast)
    return f"{middle:.2f}x [{low:.2f}, {high:.2f}]"


def _on(result: Result) -> str:
    threads = result.machine["threads"]
    return str(result.machine.get("accelerator") or f"{threads} thread{'s' * (threads != 1)}")


SUITES: dict[str, Callable[[Result], Iterator[Table]]] = {
    "lists": _lists, "pairs": _versus, "views": _versus, "memory": _memory, "growth": _growth,
    "start": _start, "ranks": _ranks,
}  # fmt: skip
