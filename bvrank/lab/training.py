"""Training in the lab: one arm for each gradient, every world of a stack at once.

All arms of a rule see the same drawn traces. What is true of a stack (loss, gradient, and biases,
variances and alpha*, which need every trace's gradient) is measured every so many steps, and under
SGD the true gradient at every one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from torch import Tensor

from bvrank.lab.fleet import Drawn, Exact, draws, single, stacked
from bvrank.lab.moments import Moments, candidates, gradients, moments
from bvrank.lab.options import Rule, Training
from bvrank.lab.policy import World
from bvrank.lab.scoring import Weights, flat, shaped
from bvrank.lab.side import Advance, pause

TRACE, STAR, IDEAL = "g_t", "alpha*", "exact"
MIXES = {TRACE: 1.0, "g_e": 0.0, "alpha 0.5": 0.5, STAR: None}  # None: measured on the way


@dataclass
class Course:
    """An arm's way, each world by itself. `loss` and `norm` (of the true gradient) [steps,W] at
    `steps`; `alpha`, `bias2` and `variance` of its own gradient [points,W] at `points`."""

    steps: list[int] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    norm: list[Tensor] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    alpha: list[Tensor] = field(default_factory=list)
    bias2: list[Tensor] = field(default_factory=list)
    variance: list[Tensor] = field(default_factory=list)
    slopes: list[Tensor] = field(default_factory=list)  # |change of gradient| / |change of weights|


def merged(courses: Sequence[Course]) -> Course:
    """Of more worlds: those of every course, one after another on axis W."""
    first = courses[0]
    whole = Course(list(first.steps), points=list(first.points))
    for name in (f.name for f in fields(Course) if f.name not in ("steps", "points")):
        together = zip(*(getattr(c, name) for c in courses), strict=True)
        setattr(whole, name, [torch.cat(values) for values in together])
    return whole


class Arm:
    """A stack of weights that one kind of gradient moves."""

    def __init__(self, name: str, start: Weights, alpha: float | None, rate: Tensor, rule: Rule
                 ) -> None:  # fmt: skip
        self.name, self.rate, self.rule = name, rate, rule
        self.weights = {n: w.clone().requires_grad_() for n, w in start.items()}
        self.course = Course()
        self.alpha = torch.full_like(rate, 0.0 if alpha is None else alpha)
        self.fixed = alpha is not None
        self._seen: tuple[Tensor, Tensor] | None = None
        given = list(self.weights.values())
        self._adam = torch.optim.AdamW(given, lr=float(rate[0])) if rule == "adamw" else None

    def move(self, losses: Tensor) -> None:
        """One step down the sum of the worlds' losses, which is each world's own."""
        found = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        self.move_by(dict(zip(self.weights, found, strict=True)))

    def move_by(self, slopes: Weights) -> None:
        """One step by gradients that are known."""
        with torch.no_grad():
            for name, w in self.weights.items():
                if self._adam is None:
                    w -= self.rate.view(-1, *[1] * (w.dim() - 1)) * slopes[name]
                else:
                    w.grad = slopes[name]
        if self._adam is not None:
            self._adam.step()

    def seen(self) -> dict[str, Tensor]:
        """The true gradient that `told` was last told."""
        assert self._seen is not None
        return shaped(self._seen[1], single(self.weights, 0))

    def told(self, step: int, loss: Tensor, slope: Tensor) -> None:
        """The true loss [W] and gradient [W,P] before `step` moves it."""
        self.course.steps.append(step)
        self.course.loss.append(loss)
        self.course.norm.append(slope.norm(dim=-1))
        here = flat(self.weights, 1).detach()
        if self._seen is not None:
            before, earlier = self._seen
            turned, moved = (slope - earlier).norm(dim=-1), (here - before).norm(dim=-1)
            self.course.slopes.append(torch.where(moved == 0, 0.0, turned / moved))
        self._seen = here, slope

    def measured(self, step: int, found: Sequence[Moments]) -> None:
        """The moments of a step's gradient, given the data, in every world; sets alpha*."""
        star = torch.tensor([m.alpha() for m in found], dtype=self.rate.dtype)
        self.alpha = self.alpha if self.fixed else star
        pairs = list(zip(found, self.alpha, strict=True))
        self.course.points.append(step)
        self.course.alpha.append(star)
        self.course.bias2.append(torch.stack([m.bias2(a) for m, a in pairs]))
        self.course.variance.append(torch.stack([m.variance(a) for m, a in pairs]))


class Measures:
    """Exact figures of stacks; what is true of the start, where all arms begin, is found once."""

    def __init__(self, worlds: Sequence[World], exact: Exact) -> None:
        self.worlds, self.exact = worlds, exact

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """The references' weights."""
        return stacked([w.start for w in self.worlds])

    @cached_property
    def _first(self) -> tuple[tuple[Tensor, Tensor], list[Moments]]:
        return self.exact.gradients(self.start), self._moments(self.start)

    def truth(self, arm: Arm, step: int) -> tuple[Tensor, Tensor]:
        """L_m [W] and its gradient [W,P]."""
        return self._first[0] if step == 0 else self.exact.gradients(arm.weights)

    def moments(self, arm: Arm, step: int) -> list[Moments]:
        """A step's, given the data."""
        return self._first[1] if step == 0 else self._moments(arm.weights)

    def _moments(self, weights: Weights) -> list[Moments]:
        each = [{n: w.detach() for n, w in single(weights, i).items()}
                for i in range(len(self.worlds))]  # fmt: skip
        return [moments(gradients(world, candidates(world, own)))
                for world, own in zip(self.worlds, each, strict=True)]  # fmt: skip


def arms(start: Weights, settings: Training, rate: Tensor, rule: Rule) -> dict[str, Arm]:
    """Every arm of a rule, by name, at its start."""
    kinds: dict[str, float | None] = {**MIXES, f"S = {settings.traces}": 1.0, IDEAL: 1.0}
    return {name: Arm(name, start, alpha, rate, rule) for name, alpha in kinds.items()}


def trained(measures: Measures, settings: Training, rule: Rule, rate: Tensor,
            seeds: Sequence[int], advance: Advance) -> dict[str, Arm]:  # fmt: skip
    """Every arm behind its last step. `rate` [W] of each world, `seeds` (W) of its draws."""
    worlds = measures.worlds
    found = arms(measures.start, settings, rate, rule)
    one, several = Drawn(worlds, 1), Drawn(worlds, settings.traces)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for step in range(settings.steps + 1):
        for arm in found.values():
            pause()
            _measure(arm, measures, settings, step)
        if step < settings.steps:
            index = draws(worlds, settings.traces, generators)
            for arm in found.values():
                pause()
                _move(arm, measures.exact, one, several, index)
            advance()
    return found


def _move(arm: Arm, exact: Exact, one: Drawn, several: Drawn, index: Tensor) -> None:
    if arm.name in MIXES:
        arm.move(one.mixed(arm.weights, index[..., :1], arm.alpha))
    elif arm.name != IDEAL:
        arm.move(several.averaged(arm.weights, index))
    elif arm.rule == "sgd":  # measured at every step
        arm.move_by(arm.seen())
    else:
        arm.move(exact.losses(arm.weights))


def _measure(arm: Arm, measures: Measures, settings: Training, step: int) -> None:
    """Of SGD, all that theorem 3 speaks of: the true gradient at every step of arms it covers."""
    due, last = step % settings.every == 0, step == settings.steps
    bounded = arm.rule == "sgd" and (arm.name in MIXES or arm.name == IDEAL)
    if due or bounded:
        arm.told(step, *measures.truth(arm, step))
    if due and (arm.name == STAR or (bounded and arm.name in MIXES and not last)):
        arm.measured(step, measures.moments(arm, step))


def curvature(exact: Exact, weights: Weights, steps: int = 6) -> Tensor:
    """The Hessian's largest absolute eigenvalue [W] of each world's L_m, from below: by `steps` of
    Lanczos."""
    own = {n: w.detach().requires_grad_() for n, w in weights.items()}
    given = list(own.values())
    slopes = torch.autograd.grad(exact.losses(own).sum(), given, create_graph=True)
    slope = flat(dict(zip(own, slopes, strict=True)), 1)

    def product(vector: Tensor) -> Tensor:
        found = torch.autograd.grad((slope * vector).sum(), given, retain_graph=True)
        return flat(dict(zip(own, found, strict=True)), 1)

    return lanczos(product, slope.detach(), steps)


def lanczos(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """The largest absolute eigenvalue [W] of symmetric operators [W,P] -> [W,P], from below: of
    their projections on the first `steps` powers of `start`, which are kept orthogonal. NaN for one
    that is not finite there."""
    basis = [start / start.norm(dim=-1, keepdim=True)]
    images = [product(basis[0])]
    for _ in range(steps - 1):
        rest = images[-1]
        for _ in range(2):  # once is not enough in floating point
            for b in basis:
                rest = rest - (rest * b).sum(-1, keepdim=True) * b
        pause()
        left, whole = (v.norm(dim=-1, keepdim=True) for v in (rest, images[-1]))
        # What is left of a space that is used up is rounding, and not orthogonal.
        basis.append(torch.where(left <= 1e-10 * whole, 0.0, rest / left))
        images.append(product(basis[-1]))
    q, h = torch.stack(basis, 1), torch.stack(images, 1)  # [W,steps,P]
    small = q @ h.transpose(1, 2)
    known = small.isfinite().all(-1).all(-1)
    small = torch.where(known[:, None, None], (small + small.transpose(1, 2)) / 2, 0.0)
    return torch.where(known, torch.linalg.eigvalsh(small).abs().amax(-1), torch.nan)
