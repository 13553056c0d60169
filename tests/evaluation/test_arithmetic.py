"""Figures against closed forms; accuracy of a model whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.arithmetic import problems
from bvrank.data.templates import Template
from bvrank.evaluation.arithmetic import Accuracy, accuracy, compared, figure
from bvrank.models.tiny import tiny_tokenizer
from tests.sampling.saying import saying

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@given(VALUES)
def test_a_figure_is_mean_error_and_interval(values: list[float]) -> None:
    found, n = figure(values), len(values)
    mean = math.fsum(values) / n
    stderr = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    assert (found["value"], found["n"]) == (pytest.approx(mean), n)
    assert found["stderr"] == pytest.approx(stderr, abs=1e-9)
    low, high = found["interval"]
    assert (low + high) / 2 == pytest.approx(mean, abs=1e-9)
    assert (high - low) / 2 == pytest.approx(1.959964 * stderr, abs=1e-9)


def test_a_share_has_the_binomial_error() -> None:
    values = [1.0] * 30 + [0.0] * 70
    assert figure(values)["stderr"] == pytest.approx(math.sqrt(0.3 * 0.7 / 99))


def test_one_value_has_no_error() -> None:
    assert math.isnan(figure([0.5])["stderr"])


@given(VALUES)
def test_a_gain_is_paired_by_problem(values: list[float]) -> None:
    """A constant shift is certain, however much the problems differ."""
    before = Accuracy(tuple(values), tuple(values), 3.0, 1.0)
    after = Accuracy(tuple(v + 0.25 for v in values), tuple(values), 4.0, 1.0)
    told = compared(before, after, 4)
    assert told["gain"]["avg@4"]["value"] == pytest.approx(0.25)
    assert told["gain"]["avg@4"]["stderr"] == pytest.approx(0, abs=1e-9)
    assert told["gain"]["greedy"]["value"] == 0
    assert (told["before"]["trace_tokens"], told["after"]["trace_tokens"]) == (3.0, 4.0)


def test_accuracy_of_known_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinking is right on every second sample and never closes its fourth; without it all are."""

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        if not thinking:
            return answer, True
        if turn == 3:
            return "<think>\nstill going", False
        return f"<think>\nhm\n</think>\n\n{answer if turn % 2 == 0 else 'x'}", True

    saying(monkeypatch, say)
    template, asked = Template(tiny_tokenizer()), problems(5, 0, "test")
    steps: list[Any] = []
    found = accuracy(
        None, template, asked, samples=4, temperature=1.0, max_new_tokens=9, seed=0,
        on_progress=steps.append,
    )  # fmt: skip
    thinking, bare = found["thinking"], found["nothinking"]
    assert thinking.sampled == (0.5,) * 5 and thinking.greedy == (1.0,) * 5
    assert thinking.trace_tokens == (3 * 2 + len("still going")) / 4
    assert thinking.closed_rate == 0.75
    assert bare == Accuracy((1.0,) * 5, (1.0,) * 5, trace_tokens=0.0, closed_rate=1.0)
    assert len(steps) == 4
