"""Arena-Hard's score of verdicts, with and without control of style.

    score             mean outcome of all battles: what Bradley-Terry gives a model that has met
                      nobody but the baseline (sigmoid(b) with b the only coefficient)
    style_controlled  sigmoid(b) of logit P(win) = b + s . d, where d are the differences of style
                      between the two answers: length (relative), and headers, lists and bold text
                      (by their density), each divided by its standard deviation

The official code centres d too, on the mean of all models that are on the board. With one model on
it that would take away the very difference that is to be controlled for: here zero is zero, so that
the score is that of answers in the baseline's style.

An answer that is not there has no style, and the official code knows none: its games are lost
plainly, [[A>B]] and [[B>A]], and with control of style they are no part of the fit but mixed in by
their share of the battles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bvrank.evaluation.logistic import Array, fit, sigmoid, spread

STRONG = 3  # how often a strong verdict counts
DRAWS = 1000
FENCED = re.compile(r"```[^`]*```")
HEADER = re.compile(r"^#{1,6}\s", re.M)
ORDERED = re.compile(r"^\s*\d+\.\s", re.M)
UNORDERED = re.compile(r"^\s*[-*+]\s", re.M)
STARS, LINES = re.compile(r"\*\*[^*\n]+\*\*"), re.compile(r"__[^_\n]+__")
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Battles:
    """The battles of one question: their outcomes for the model (1, 0.5, 0), strong ones several
    times, and the difference of style, where that counts; None of an answer that is not there."""

    outcomes: tuple[float, ...]
    style: tuple[float, ...] | None = ()


@dataclass(frozen=True)
class Score:
    """A score with its uncertainty over questions; `cells` have it as their mean (see
    lengths.Controlled)."""

    value: float
    stderr: float
    interval: tuple[float, float]
    cells: Array


def score(battles: Sequence[Battles], styled: bool, seed: int = 0) -> Score:
    """Of the battles, question by question."""
    weights = np.array([len(b.outcomes) for b in battles], dtype=np.float64)
    y = np.array([sum(b.outcomes) for b in battles]) / weights
    fitted = np.array([styled and b.style is not None for b in battles])
    x = _features([b.style or () for b, own in zip(battles, fitted, strict=True) if own],
                  weights[fitted])  # fmt: skip

    def value(counts: Array, start: Array | None = None) -> tuple[float, Array]:
        own = weights * counts
        plain, total = float(own[~fitted] @ y[~fitted]), float(own.sum())
        if not (share := float(own[fitted].sum())):
            return plain / total, np.zeros(x.shape[1])
        b = fit(x, y[fitted], own[fitted], start=start)
        return (plain + share * float(sigmoid(b[:1])[0])) / total, b

    found, b = value(np.ones(len(battles)))
    error, low, high = spread(lambda counts: value(counts, b)[0], y, seed, DRAWS)
    moved, own = y - found, weights[fitted]
    if fitted.any():
        top = float(sigmoid(b[:1])[0])
        moved[fitted] = top - found + own.sum() * _styled(x, y[fitted], own, b) / own
    cells = len(battles) / weights.sum() * weights * moved
    return Score(found, error, (low, high), cells + found)


def relative(model: Sequence[float], baseline: Sequence[float]) -> tuple[float, ...]:
    """The differences of style of two answers, each (length, headers, lists, bold)."""
    (own, *marks), (other, *others) = model, baseline
    length = (own - other) / (own + other) if own + other else 0.0
    found = [length]
    for a, b in zip(marks, others, strict=True):
        dense, dense_other = a / (own + 1), b / (other + 1)
        found.append((dense - dense_other) / (dense + dense_other + 1))
    return tuple(found)


def style_of(text: str) -> dict[str, Any]:
    """What the official files call `metadata`; tokens are words and signs here."""
    bare = FENCED.sub("``````", text)
    headers = [len(m.group().strip()) for m in HEADER.finditer(bare)]
    return {
        "token_len": len(WORD.findall(text)),
        "header_count": {f"h{n}": headers.count(n) for n in range(1, 7)},
        "list_count": {"ordered": len(ORDERED.findall(bare)),
                       "unordered": len(UNORDERED.findall(bare))},
        "bold_count": {"**": len(STARS.findall(bare)), "__": len(LINES.findall(bare))},
    }  # fmt: skip


def counted(metadata: Mapping[str, Any]) -> tuple[float, ...]:
    """(length, headers, lists, bold) of such metadata. KeyError or TypeError of what is none."""
    marks = (metadata[name] for name in ("header_count", "list_count", "bold_count"))
    sums = (sum(m.values()) if isinstance(m, Mapping) else m for m in marks)
    return float(metadata["token_len"]), *map(float, sums)


def _features(styles: Sequence[Sequence[float]], weights: Array) -> Array:
    """A column of ones for the model, and style in units of its deviation over all battles."""
    if not len(styles):
        return np.ones((0, 1))
    style, total = np.array(styles), weights.sum()
    centred = style - weights @ style / total
    deviation = np.sqrt(weights @ centred**2 / max(total - 1, 1))
    scaled = np.divide(style, deviation, out=np.zeros_like(style), where=deviation > 0)
    return np.concatenate([np.ones((len(style), 1)), scaled], axis=1)


def _styled(x: Array, y: Array, weights: Array, b: Array) -> Array:
    """What each question does to the score."""
    p, top = sigmoid(x @ b), sigmoid(b[:1])[0]
    hessian = (x.T * (weights * p * (1 - p))) @ x + 1e-9 * np.eye(len(b))
    direction = np.linalg.solve(hessian, np.eye(len(b))[0] * top * (1 - top))
    moved: Array = (x * (weights * (y - p))[:, None]) @ direction
    centred: Array = moved - moved.mean()
    return centred
