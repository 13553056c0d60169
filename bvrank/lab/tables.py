"""The lab's figures as tables of text, for terminal and page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bvrank.lab.check import Check
from bvrank.lab.result import Result, distance

NONE = "-"  # where there is no number
RISING = 4  # S from which slopes are fitted: 1/S is a law of large S
STEP = ("alpha* is the best alpha of a single step, and not of training: variance averages out "
        "over steps, bias does not.")  # fmt: skip
ADAMW = ("All arms of a rule share one rate, which was not tuned for any; AdamW has torch's "
         "default weight decay.")  # fmt: skip
GIVEN = {
    "data": "the data (every prompt; traces are drawn)",
    "prompt": "nothing (prompts and traces are drawn)",
    "independent": "nothing, views apart (each draws its prompts)",
}


@dataclass(frozen=True)
class Table:
    """Lines of text under heads; the first `names` columns are words. `notes` stand below."""

    name: str
    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    names: int = 1
    notes: Sequence[str] = ()


def tables(result: Result) -> list[Table]:
    """All there are."""
    found = [checks(result), alphas(result), gradients(result), batches(result)]
    if any(cell["estimators"] for cell in result.cells):
        found.append(estimators(result))
    if result.training is not None:
        found += [arms(result.training), *bound(result.training)]
    return found


def checks(result: Result) -> Table:
    """Theorem, statement, largest violation, tolerance."""
    lines = [
        [c.theorem or "-", c.says, NONE if math.isnan(c.largest) else f"{c.largest:.1e}",
         f"{c.tolerance:.0e}", _verdict(c)]
        for c in sorted(result.checks, key=lambda c: c.theorem)
    ]  # fmt: skip
    count = len(result.cells)
    note = f"The largest violation over {count} policies: worlds times distances."
    heads = ("theorem", "statement", "violation", "tolerance", "")
    return Table("checks", "What the theory says", heads, lines, 2, [note])


def _verdict(check: Check) -> str:
    if check.why:
        return f"not checked: {check.why}"
    return "VIOLATED" if check.violated else "holds"


def alphas(result: Result) -> Table:
    """alpha* beside the grid's argmin, and what it is worth."""
    lines = []
    for cell, m in _given(result, "data"):
        ends = min(m["mse_t"], m["mse_e"])
        lines.append([*_where(cell), f"{m['a']:.4f}", f"{m['alpha']:.6f}", f"{m['argmin']:.6f}",
                      _number(m["mse_t"]), _number(m["mse_e"]), _number(m["mse_half"]),
                      _number(m["mse"]), _ratio(ends, m["mse"]),
                      _ratio(m["mse_half"], m["mse"])])  # fmt: skip
    heads = ("world", "distance", "a", "alpha*", "argmin", "MSE g_t", "MSE g_e", "MSE 0.5",
             "MSE a*", "best end / a*", "0.5 / a*")  # fmt: skip
    return Table("alphas", "alpha* given the data", heads, lines, 1)


def gradients(result: Result) -> Table:
    """Loss, distance in nats, biases and variance."""
    lines = [
        [*_where(cell), f"{cell['loss']:.4f}", f"{cell['kl']:.3f}", f"{cell['rms']:.3f}",
         _number(cell["mu"]), _number(m["b_t"]), _number(m["b_e"]), _number(_root(m["s_t"]))]
        for cell, m in _given(result, "data")
    ]  # fmt: skip
    heads = ("world", "distance", "L_m", "KL", "rms", "|mu|", "|b_t|", "|b_e|", "sd g_t")
    notes = ["KL(pi_ref(r|x,y) || pi(r|x,y)): mean over the pairs' answers, nats. rms: of "
             "log pi_ref(r,y|x) - log pi(r,y|x) under the same traces. sd g_t: root of the trace "
             "of Cov(g_t), traces drawn for every prompt."]  # fmt: skip
    return Table("gradients", "The gradients", heads, lines, 1, notes)


def batches(result: Result) -> Table:
    """alpha* by what a step leaves to chance."""
    lines = []
    for given, told in GIVEN.items():
        for cell, m in _given(result, given):
            lines.append([told, *_where(cell), _number(m["s_t"]), _number(m["s_e"]),
                          _number(m["s_te"]), f"{m['alpha']:.4f}",
                          _ratio(min(m["mse_t"], m["mse_e"]), m["mse"])])  # fmt: skip
    heads = ("given", "world", "distance", "tr S_t", "tr S_e", "tr S_te", "alpha*", "best end / a*")
    note = f"Drawn prompts: {result.settings['batch']} a step."
    return Table("batches", "What a step leaves to chance", heads, lines, 1, [note])


def estimators(result: Result) -> Table:
    """Bias and variance by S, and the slopes."""
    lines, notes = [], []
    for cell in (c for c in result.cells if c["estimators"]):
        for e in cell["estimators"]:
            low, high = bias_interval(e)
            lines.append([*_where(cell), f"{e['traces']}", _number(e["bias"]),
                          "exact" if not e["draws"] else f"[{_number(low)}, {_number(high)}]",
                          _number(e["loss_bias"]), _number(_root(e["variance"])),
                          _number(_root(max(e["bias2"], 0.0) + e["variance"]))])  # fmt: skip
        found = ", ".join(f"{name} {value:.2f}" for name, value in slopes(cell).items())
        notes.append(
            f"World {cell['world']}: slope of log value over log S, S >= {RISING}: {found}."
        )
    heads = ("world", "distance", "S", "|bias|", "95 %", "bias of L", "sd", "rms error")
    return Table("estimators", "The S-trace marginal", heads, lines, 1, notes)


def arms(training: Mapping[str, Any]) -> Table:
    """Where every arm ends."""
    lines = []
    for rule, found in training["rules"].items():
        for name, arm in found.items():
            lines.append([rule, name, _interval(arm["loss"][-1]), _interval(arm["norm"][-1]),
                          _interval(arm["above_exact"]),
                          _of(arm.get("above_trace"), training["worlds"])])  # fmt: skip
    heads = ("rule", "gradient", "true L_m", "|grad L_m|", "L_m above exact", "above g_t")
    steps = next(iter(next(iter(training["rules"].values())).values()))["steps"][-1]
    note = (f"Behind {steps} steps; means over {training['worlds']} worlds with 95 % intervals "
            "(Student's t), the difference from exact world by world; the last column: in how many "
            "worlds an arm ended above g_t. Begin: ln 2 = 0.6931.")  # fmt: skip
    return Table("arms", "Training", heads, lines, 2, [note, *_lost(training), STEP, ADAMW])


def _lost(training: Mapping[str, Any]) -> Iterator[str]:
    """Which arms came to no number, and where."""
    found = [f"{rule} {name} in {_of(arm['diverged'], training['worlds'])}"
             for rule, arms in training["rules"].items() for name, arm in arms.items()
             if arm.get("diverged")]  # fmt: skip
    if found:
        yield f"Diverged, its loss no number any more: {', '.join(found)} worlds."


def _of(count: int | None, worlds: int) -> str:
    return NONE if count is None else f"{count} of {worlds}"


def bound(training: Mapping[str, Any]) -> Iterator[Table]:
    """Theorem 3, part by part; none where SGD was not run."""
    told = training.get("bound")
    if told is None:
        return
    parts = ("measured", "bound", "start", "bias2", "variance", "noise")
    lines = [[name, *(_interval(arm.get(p, [math.nan, 0.0])) for p in parts), f"{arm['exceeded']}"]
             for name, arm in told["arms"].items()]  # fmt: skip
    heads = ("gradient", "mean |grad L_m|^2", "bound", "2 L_m(0) / (eta K)", "B^2",
             "sigma^2", "eta L sigma^2", "worlds above")  # fmt: skip
    low, high = (_number(v) for v in told["L"])
    eta = " to ".join(_number(v) for v in told["eta"])
    both = " to ".join(_number(v) for v in told["eta_L"])
    notes = [
        f"L: {told['margin']:g} times the largest curvature that was seen: of the Hessian at the "
        "reference and at the end of the exact arm, and between any two steps of any arm; "
        f"{low} to {high} over the worlds. eta {eta}, eta L {both}.",
        f"The theorem speaks of eta L <= 1: of {told['covered']} of {told['worlds']} worlds, which "
        "are the ones shown. B^2 and sigma^2 are the largest squared bias and variance that were "
        "measured on the way; inf L_m is taken as 0.",
    ]
    yield Table("bound", "Theorem 3: the bound beside the measured path", heads, lines, 1, notes)


def slopes(cell: Mapping[str, Any]) -> dict[str, float]:
    """Of bias of gradient and loss, and of the variance, over S."""
    late = [e for e in cell["estimators"] if e["traces"] >= RISING]
    names = {"bias": "bias", "bias of L": "loss_bias", "variance": "variance"}
    return {told: slope([(e["traces"], abs(e[key])) for e in late]) for told, key in names.items()}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a line through (log S, log value): NaN with fewer than two points."""
    logs = [(math.log(s), math.log(v)) for s, v in points if v > 0]
    if len(logs) < 2:
        return math.nan
    x, y = (sum(part) / len(logs) for part in zip(*logs, strict=True))
    return float(sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs))


def bias_interval(e: Mapping[str, Any]) -> tuple[float, float]:
    """95 % of |bias|, from that of its square."""
    reach = 1.96 * e["stderr"]
    low, high = max(e["bias2"] - reach, 0.0), max(e["bias2"] + reach, 0.0)
    return math.sqrt(low), math.sqrt(high)


def _given(result: Result, given: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    for cell in result.cells:
        yield cell, cell["given"][given]


def _where(cell: Mapping[str, Any]) -> list[str]:
    return [f"{cell['world']}", distance(cell)]


def _interval(pair: Sequence[float]) -> str:
    return NONE if math.isnan(pair[0]) else f"{pair[0]:.3g} ± {pair[1]:.2g}"


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3g}"


def _root(value: float) -> float:
    """0 for what is below it by rounding; NaN stays NaN."""
    return 0.0 if value < 0 else math.sqrt(value)


def _ratio(above: float, below: float) -> str:
    return f"{above / below:.3f}" if below > 0 else NONE
