"""What the pictures show: loss and gradient of the real objectives along a line of scores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.objectives.base import Listwise, Pairwise
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.marginal import Marginal
from bvrank.objectives.orpo import ORPO
from bvrank.records import BARE, Preferences

GRID = torch.arange(-96, 97, dtype=torch.float64) / 16  # -6 to 6; every kink lies on it
GRADES = (2.0, 1.0, 0.0, 0.0, 0.0)  # relevance in the list of the pictures
HELD = (-2.0, 0.0, 1.0)  # scores of the worse side where the margin alone does not decide
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRACES = (1, 2, 4, 16)
# The field that makes an objective another one: values of it to compare.
VARIANTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "approx_ndcg": ("steepness", (0.5, 1.0, 4.0)),
    "dpo": ("label_smoothing", (0.0, 0.1, 0.3)),
    "irpo": ("form", ("paper", "official", "softmax")),
    "listnet": ("weight", ("dcg", "p_at_k", "no_relevance")),
    "robust": ("label_smoothing", (0.0, 0.1, 0.3)),
    "simpo": ("gamma", (0.0, 1.0, 2.0)),
}
MARGIN = "margin s_w - s_l"
BEST = "score of the best item, the others at 0"


@dataclass(frozen=True)
class Series:
    """A curve over GRID; `number` decides how it looks."""

    label: str
    values: Tensor
    number: int


@dataclass(frozen=True)
class Chart:
    """A picture: its file's name, the names of its axes, its curves, and the range shown (None: all
    of them)."""

    name: str
    heading: str
    across: str
    series: tuple[Series, ...]
    reach: tuple[float, float] | None = None


def preferences(policy: Tensor, relevance: Sequence[float], answer: Sequence[int] | None = None
                ) -> Preferences:  # fmt: skip
    """`policy` [V,B,K] with the same labels in every row; one token each, the reference 0."""
    ones = torch.ones(policy.shape, dtype=torch.long)
    numbers = torch.arange(1, policy.shape[-1] + 1).expand(policy.shape)
    return Preferences(
        policy=policy,
        reference=torch.zeros_like(policy),
        relevance=torch.tensor(relevance).expand(policy.shape),
        rank=numbers,
        length=ones,
        valid=ones.bool(),
        answer=numbers if answer is None else torch.tensor(answer).expand(policy.shape),
        draw=numbers.double() / (policy.shape[-1] + 1),
    )


def log_probs(objective: Any, scores: Tensor) -> Tensor:
    """The log-probs that have these scores."""
    if isinstance(objective, ORPO):
        return logsigmoid(scores)
    if isinstance(objective, BVPO) and objective.beta is None:
        objective = objective.loss
    return scores / getattr(objective, "beta", 1.0)


def measured(objective: Any, scores: Tensor, relevance: Sequence[float],
             answer: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Loss [B], summed over views, and its gradient by the scores [V,B,K]."""
    scores = scores.clone().requires_grad_()
    prefs = preferences(log_probs(objective, scores), relevance, answer)
    if hasattr(objective, "scores") and not isinstance(objective, Marginal):  # has them of answers
        torch.testing.assert_close(objective.scores(prefs), scores)
    loss = objective(prefs).loss.sum(0)
    if not loss.requires_grad:
        return loss, torch.zeros_like(scores)
    return loss.detach(), torch.autograd.grad(loss.sum(), scores)[0]


def counts(objective: Any, scores: Tensor, relevance: Sequence[float]) -> bool:
    """Whether such a list has a share in the denominator."""
    return bool(objective(preferences(log_probs(objective, scores), relevance)).count.any())


def variants(name: str, objective: Any) -> dict[str, Any]:
    """Label -> the objective with one field changed; "" for the defaults alone."""
    if name not in VARIANTS:
        return {"": objective}
    field, values = VARIANTS[name]
    return {f"{field}={v}": replace(objective, **{field: v}) for v in values}


def charts(name: str, objective: Any) -> Iterator[Chart]:
    """The pictures of an objective, none where there is nothing to see."""
    if isinstance(objective, Marginal):
        yield from _traces(name, replace(objective, beta=1.0))
    elif isinstance(objective, Pairwise):
        yield from _pair(name, objective)
    elif isinstance(objective, Listwise):
        yield from _list(name, objective)
    elif isinstance(objective, BVPO):
        yield from _mixed(name, objective)


def margin_decides(objective: Any) -> bool:
    """Whether a shift of both scores changes nothing."""
    one, other = (measured(objective, sides(GRID, at), (1, 0))[0] for at in HELD[1:])
    return torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def sides(margin: Tensor, worse: float | Tensor) -> Tensor:
    """Scores [1,B,2] of a better and a worse side."""
    low = torch.as_tensor(worse, dtype=torch.float64).expand(margin.shape)
    return torch.stack([low + margin, low], -1).unsqueeze(0)


def _pair(name: str, objective: Any) -> Iterator[Chart]:
    if margin_decides(objective):
        cases = {label: (o, 0.0) for label, o in variants(name, objective).items()}
    else:
        cases = {f"s_l = {at:g}": (objective, at) for at in HELD}
    found = {k: measured(o, sides(GRID, at), (1, 0)) for k, (o, at) in cases.items()}
    yield _chart(name, "loss", "Loss", MARGIN, {k: loss for k, (loss, _) in found.items()})
    yield _chart(name, "gradient", "Gradient by s_w", MARGIN,
                 {k: g[0, :, 0] for k, (_, g) in found.items()})  # fmt: skip
    if not margin_decides(objective):
        yield _chart(name, "worse", "Gradient by s_l", MARGIN,
                     {k: g[0, :, 1] for k, (_, g) in found.items()})  # fmt: skip


def ranked(best: Tensor) -> Tensor:
    """Scores [1,B,K] of a list whose best item moves while the others stay at 0."""
    rest = torch.zeros(len(best), len(GRADES) - 1, dtype=torch.float64)
    return torch.cat([best.unsqueeze(-1), rest], -1).unsqueeze(0)


def _list(name: str, objective: Any) -> Iterator[Chart]:
    every = variants(name, objective)
    found = {k: measured(o, ranked(GRID), GRADES) for k, o in every.items()}
    yield _chart(name, "loss", "Loss", BEST, {k: loss for k, (loss, _) in found.items()})
    if len(every) > 1:
        yield _chart(name, "best", "Gradient by the best item's score", BEST,
                     {k: g[0, :, 0] for k, (_, g) in found.items()})  # fmt: skip
    items = measured(objective, ranked(GRID), GRADES)[1][0]
    named = {f"relevance {y:g}": items[:, i] for i, y in enumerate(GRADES) if i < 3}
    heading = "Gradient by each item's score" + (", defaults" if len(every) > 1 else "")
    yield _chart(name, "gradient", heading, BEST, named)


def _mixed(name: str, objective: BVPO) -> Iterator[Chart]:
    """The trace's margin moves, that of the empty trace stays at 0."""
    losses, gradients = {}, {}
    for alpha in ALPHAS:
        mixed = replace(objective, alpha=alpha)
        views = [sides(GRID * (v != BARE), 0.0) for v in mixed.views]
        loss, gradient = measured(mixed, torch.cat(views), (1, 0))
        still = torch.zeros_like(GRID)
        parts = dict(zip(mixed.views, gradient, strict=True))
        losses[f"alpha={alpha:g}"] = loss
        gradients[f"alpha={alpha:g}"] = parts["full"][:, 0] if "full" in parts else still
    across = "margin in view full, that in view bare at 0"
    yield _chart(name, "loss", "Loss", across, losses)
    yield _chart(name, "gradient", "Gradient by s_w in view full", across, gradients)


def _traces(name: str, objective: Marginal) -> Iterator[Chart]:
    """One trace of the better answer moves, its others and the one worse answer stay at 0."""
    losses, gradients = {}, {}
    for count in TRACES:
        scores = torch.zeros(1, len(GRID), count + 1, dtype=torch.float64)
        scores[0, :, 0] = GRID
        relevance, answer = [*[1.0] * count, 0.0], [*[0] * count, 1]
        loss, gradient = measured(objective, scores, relevance, answer)
        losses[f"S={count}"], gradients[f"S={count}"] = loss, gradient[0, :, 0]
    across = "log-ratio of one of S traces, the others at 0"
    yield _chart(name, "loss", "Loss, beta=1", across, losses)
    yield _chart(name, "gradient", "Gradient by that log-ratio", across, gradients)


def overlays(objectives: Mapping[str, Any]) -> Iterator[Chart]:
    """All pairwise losses in one picture, all listwise ones in another, and their gradients: each
    shifted to 0 at 0 and divided by its slope there."""
    pairs = {k: o for k, o in objectives.items() if type(o).__call__ is Pairwise.__call__}
    lists = {k: o for k, o in objectives.items() if isinstance(o, Listwise)}

    def apart(margin: Tensor) -> Tensor:
        return sides(margin, -margin / 2)

    yield from _overlaid("pairwise", MARGIN, pairs, apart, (1, 0), ((-3.5, 8.0), (-2.4, 1.4)))
    yield from _overlaid("listwise", BEST, lists, ranked, GRADES, (None, None))


def _overlaid(name: str, across: str, objectives: Mapping[str, Any],
              path: Callable[[Tensor], Tensor], relevance: Sequence[float],
              reach: tuple[Any, Any]) -> Iterator[Chart]:  # fmt: skip
    """Loss and slope of each objective along `path`, in units of its slope at 0."""
    losses, slopes = {}, {}
    for label, objective in objectives.items():
        at = GRID.clone().requires_grad_()
        scores = path(at)
        loss, by_score = measured(objective, scores.detach(), relevance)
        slope = torch.autograd.grad(scores, at, by_score)[0]
        middle = len(GRID) // 2
        unit = slope[middle].abs()
        losses[label], slopes[label] = (loss - loss[middle]) / unit, slope / unit
    yield _chart(name, "loss", "Loss, in units of the slope at 0", across, losses, reach[0])
    yield _chart(name, "gradient", "Slope, in units of that at 0", across, slopes, reach[1])


def _chart(name: str, kind: str, heading: str, across: str, values: Mapping[str, Tensor],
           reach: tuple[float, float] | None = None) -> Chart:  # fmt: skip
    """Curves that lie on each other are one, of all their labels."""
    series: list[Series] = []
    for number, (label, v) in enumerate(values.items()):
        same = next((n for n, s in enumerate(series) if torch.allclose(s.values, v)), None)
        if same is None:
            series.append(Series(label, v, number))
        else:
            series[same] = replace(series[same], label=f"{series[same].label}, {label}")
    return Chart(f"{name}-{kind}", heading, across, tuple(series), reach)


def all_charts(objectives: Mapping[str, Any]) -> list[Chart]:
    """Every picture of the page."""
    single = (charts(name, o) for name, o in objectives.items())
    return [*overlays(objectives), *itertools.chain.from_iterable(single)]
