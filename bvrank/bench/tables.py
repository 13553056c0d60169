"""A suite's figures as tables of text. Every ratio is of medians, with the least and the most of
the ratios of steps taken side by side in brackets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bvrank.bench.result import Arm, Cell, Result
from bvrank.errors import DataError

SPREAD = "times by medians [least, most of the ratios of steps taken side by side]"


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
        return list(SUITES[result.suite](result))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        why = f"holds no measurement ({type(error).__name__}: {error})"
        file = f"{result.suite}.json"
        raise DataError(why, where=file, repair="Run that suite again.") from error


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
        yield Table(title, heads, tuple(lines), (SPREAD, *_notes(cell, own)))


def _notes(cell: Cell, own: Arm) -> Iterator[str]:
    facts = cell.facts
    rate = facts["flops"] / sum(own.seconds)
    yield (
        f"bvrank: {facts['tokens'] / sum(own.seconds):,.0f} unique tokens a second; model "
        f"operations on unique tokens {rate / 1e9:,.0f} G a second, {rate / facts['matmul']:.2f} "
        f"of a matrix product's {facts['matmul'] / 1e9:,.0f} G"
    )
    screen = {n.removeprefix("screen/"): s for n, s in facts.items() if n.startswith("screen/")}
    if screen:
        told = ", ".join(f"{n.removeprefix('trl ')} {s:.1f} s" for n, s in screen.items())
        yield f"TRL's settings, the faster of two steps: {told}"


def _memory(result: Result) -> Iterator[Table]:
    lines = []
    for cell in result.cells:
        peer = next((arm for name, arm in cell.arms.items() if name.startswith("trl")), None)
        for name, arm in cell.arms.items():
            line = [f"{cell.setting['vocabulary']:,}", f"{cell.setting['scored']:,}", name,
                    megabytes(arm.peak), megabytes(arm.above)]  # fmt: skip
            if peer is not None:
                line += ["", ""] if arm is peer else [f"{arm.peak / peer.peak:.3f}",
                                                      f"{arm.above / peer.above:.3f}"]  # fmt: skip
            lines.append(tuple(line))
    heads = ("vocabulary", "scored tokens", "arm", "peak MB", "above start MB", "peak, of TRL's",
             "above start, of TRL's")  # fmt: skip
    width = max(map(len, lines))
    title = f"Memory of a step on one pair, {_on(result)}"
    notes = ("peak: of the whole process; above start: beyond what was resident before step 1",)
    yield Table(title, heads[:width], tuple(lines), notes, names=3)


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
        title = f"A thread for each rank, {setting['batch']} pairs a step, {setting['engine']}"
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
