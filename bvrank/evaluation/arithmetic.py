"""Accuracy of the final answer on the arithmetic world, Thinking and NoThinking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bvrank.data.arithmetic import Problem, correct
from bvrank.data.templates import Template
from bvrank.sampling.local import Drawn, respond
from bvrank.sampling.responses import MODES
from bvrank.sampling.transformers import Sampling

VERSION = 2  # of the figures; what an older version stored is measured again


@dataclass(frozen=True)
class Accuracy:
    """Per-problem figures of one mode, in the order of the problems."""

    sampled: tuple[float, ...]  # share of right samples
    greedy: tuple[float, ...]  # 1.0 or 0.0
    trace_tokens: float  # mean tokens of a sampled trace, 0 where there is none
    closed_rate: float  # share of samples that ended and closed their thinking

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Accuracy:
        """From what JSON made of its fields."""
        lists = {name: tuple(values[name]) for name in ("sampled", "greedy")}
        return cls(**{**values, **lists})


def accuracy(model: Any, template: Template, problems: Sequence[Problem], *, samples: int,
             temperature: float, max_new_tokens: int, seed: int,
             on_progress: Callable[[int], None] = lambda _: None,
             ) -> dict[str, Accuracy]:  # fmt: skip
    """avg@samples at `temperature`, greedy beside it, for each mode."""
    drawn = Sampling(temperature=temperature, max_new_tokens=max_new_tokens, n=samples)
    greedy = Sampling(temperature=0.0, max_new_tokens=max_new_tokens, n=1)
    out: dict[str, Accuracy] = {}
    questions = [p.question for p in problems]
    for turn, mode in enumerate(MODES):
        many = respond(model, template, questions, mode, drawn, 2 * seed + turn)
        on_progress(1)
        one = respond(model, template, questions, mode, greedy, seed)
        on_progress(1)
        out[mode] = Accuracy(
            tuple(_right(many, problems)), tuple(_right(one, problems)),
            trace_tokens=_mean([s.trace_tokens for g in many for s in g]),
            closed_rate=_mean([s.finished and s.response.closed for g in many for s in g]),
        )  # fmt: skip
    return out


def compared(before: Accuracy, after: Accuracy, samples: int) -> dict[str, Any]:
    """before, after and their paired gain, each figure with n, standard error and 95 % interval.
    Intervals are clustered by problem: n is the number of problems."""
    name = f"avg@{samples}"
    gains = {
        name: figure([b - a for a, b in zip(before.sampled, after.sampled, strict=True)]),
        "greedy": figure([b - a for a, b in zip(before.greedy, after.greedy, strict=True)]),
    }
    return {"before": _figures(before, name), "after": _figures(after, name), "gain": gains}


def figure(values: Sequence[float]) -> dict[str, Any]:
    """Mean, n, standard error and normal 95 % interval of independent values."""
    n, mean = len(values), _mean(values)
    variance = sum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else math.nan
    stderr = math.sqrt(variance / n) if n > 1 else math.nan
    interval = [mean - 1.959964 * stderr, mean + 1.959964 * stderr]
    return {"value": mean, "n": n, "stderr": stderr, "interval": interval}


def _figures(found: Accuracy, name: str) -> dict[str, Any]:
    return {
        name: figure(found.sampled), "greedy": figure(found.greedy),
        "trace_tokens": found.trace_tokens, "closed_rate": found.closed_rate,
    }  # fmt: skip


def _right(groups: list[list[Drawn]], problems: Sequence[Problem]) -> list[float]:
    return [
        _mean([is_right(s, p) for s in group]) for group, p in zip(groups, problems, strict=True)
    ]


def is_right(drawn: Drawn, problem: Problem) -> bool:
    """Whether the response ended and its final answer is the problem's."""
    answer = drawn.response.answer
    return drawn.finished and answer is not None and correct(answer, problem)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
