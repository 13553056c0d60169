"""alpha* of a mix of two views out of projected gradients, cross-fitted over halves of the traces.

The gradient of one optimiser step at the batch of B examples, conditional on its data, is g_t on
traces and g_e on empty traces; mu is that of the marginal loss. The mix alpha g_t + (1-alpha) g_e
lies nearest to mu, in mean square over traces, at (arXiv 2510.05095, theorem 2)

    a = E<g_e - mu, g_e - g_t> / E||g_t - g_e||^2,

both expectations over batches too. mu and g_t come from different halves of the traces: a trace
that stood in both would count its own noise as signal.

Shapes: H halves (1: no answer has two traces), G groups of examples, D entries of a projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.student import student


@dataclass(frozen=True)
class Scale:
    """From groups to a step. `share`: a group's examples over the step's; `traces`: the variance
    over traces of the step's gradient over that of one from half of the traces."""

    share: float
    traces: float = 1.0


@dataclass(frozen=True)
class Inner:
    """The unbiased mean of <x, y> over steps, x and y the step's means [G,D] over its groups.

    Within a group the halves are crossed (`own` [G]); between groups (`across` [G,G]) nothing is
    shared, and their means serve. `extra` [G] is what else a group adds, a variance over traces.
    """

    own: Tensor
    across: Tensor
    extra: Tensor
    share: float

    def value(self) -> Tensor:
        return self._of(self.own.sum(), self._off().sum(), self.extra.sum(), len(self.own))

    def without(self) -> Tensor:
        """The values [G], each without one group: what a jackknife wants."""
        off, groups = self._off(), len(self.own)
        rest = off.sum() - off.sum(0) - off.sum(1)
        own, extra = self.own.sum() - self.own, self.extra.sum() - self.extra
        return self._of(own, rest, extra, groups - 1)

    @property
    def between(self) -> Tensor:
        """The mean over pairs of groups: <E x, E y>."""
        return self._off().sum() / (len(self.own) * (len(self.own) - 1))

    def _off(self) -> Tensor:
        return self.across - torch.diag(self.across.diagonal())

    def _of(self, own: Tensor, across: Tensor, extra: Tensor, groups: int) -> Tensor:
        between = across / (groups * (groups - 1))
        return self.share * (own + extra) / groups + (1 - self.share) * between


def inner(x: Tensor, y: Tensor, scale: Scale, *, traced: bool = False) -> Inner:
    """Of x [H,G,D] and y [H,G,D]; `traced`: y is x, and the step's own variance over traces is
    part of its square."""
    cross = (x * y.flip(0)).sum(-1).mean(0)  # [G]; one half: nothing to cross
    noise = torch.zeros_like(cross)
    if traced and len(x) == 2:
        noise = scale.traces * (x[0] - x[1]).square().sum(-1) / 2
    return Inner(cross, x.mean(0) @ y.mean(0).T, noise, scale.share)


@dataclass(frozen=True)
class Phase:
    """One measurement: numerator and denominator of a, their covariance over groups (by the
    jackknife; `nn` holds the projection's part as well)."""

    numerator: float
    denominator: float
    nn: float
    nd: float
    dd: float


def phase(bare: Tensor, trace: Tensor, marginal: Tensor, scale: Scale, dimension: int | None
          ) -> Phase:  # fmt: skip
    """From gradients of the empty-trace loss [1,G,D], the trace loss [2,G,D] and the marginal loss
    [2,G,D], by half of the traces. `dimension`: of a random projection; None: there was none."""
    p, q = bare - marginal, bare - trace
    over, under = inner(p, q, scale), inner(q, q, scale, traced=True)
    n, d = float(over.value()), float(under.value())
    left = torch.stack([over.without(), under.without()])  # [2,G]
    left = left - left.mean(1, keepdim=True)
    groups = left.shape[1]
    covariance = (left @ left.T) * (groups - 1) / groups
    nn = float(covariance[0, 0])
    if dimension is not None and d > 0:
        # <p - a q, q> of a projection has the variance |p - a q|^2 |q|^2 / D.
        remaining = float(inner(p, p, scale).value()) - n * n / d
        nn += max(remaining, 0.0) * d / dimension
    return Phase(n, d, nn, float(covariance[0, 1]), float(covariance[1, 1]))


@dataclass(frozen=True)
class Running:
    """Averages over phases: the plain mean at first, then exponential with weight 1 - `memory` for
    the newest. Numerator and denominator are averaged, not ratios: a ratio of noisy parts is
    biased, and has no mean where its denominator may be near 0. `spread`: the sum of the squared
    weights of the phases; `freedom`: degrees of the error's own freedom (Satterthwaite's)."""

    mean: Phase
    phases: int
    spread: float
    freedom: float

    @classmethod
    def after(cls, before: Running | None, new: Phase, memory: float, groups: int) -> Running:
        """With one more phase, of `groups` groups; phases are taken as independent."""
        if before is None:
            return cls(new, 1, 1.0, groups - 1.0)
        w, old = max(1 - memory, 1 / (before.phases + 1)), before.mean
        kept, added = (1 - w) ** 2, w**2
        mean = Phase(
            (1 - w) * old.numerator + w * new.numerator,
            (1 - w) * old.denominator + w * new.denominator,
            *(kept * getattr(old, c) + added * getattr(new, c) for c in ("nn", "nd", "dd")),
        )
        spread = kept * before.spread + added
        squares = (kept * before.spread) ** 2 / before.freedom + added**2 / (groups - 1)
        return cls(mean, before.phases + 1, spread, spread**2 / squares)

    @property
    def alpha(self) -> float:
        """a, not clipped; NaN where the denominator is not positive."""
        good = self.mean.denominator > 0
        return self.mean.numerator / self.mean.denominator if good else math.nan

    @property
    def stderr(self) -> float:
        """Standard error of `alpha` by the delta method."""
        m, a = self.mean, self.alpha
        square = m.nn - 2 * a * m.nd + a * a * m.dd
        return math.sqrt(max(square, 0.0)) / m.denominator if m.denominator > 0 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Student's."""
        half = student(self.freedom) * self.stderr
        return self.alpha - half, self.alpha + half

    def kept(self) -> dict[str, float]:
        """As numbers, for a checkpoint."""
        rest = {n: float(getattr(self, n)) for n in ("phases", "spread", "freedom")}
        return {**vars(self.mean), **rest}

    @classmethod
    def of(cls, kept: Mapping[str, float]) -> Running | None:
        """What `kept` gave; None of nothing."""
        if not kept:
            return None
        parts = {name: kept[name] for name in ("numerator", "denominator", "nn", "nd", "dd")}
        return cls(Phase(**parts), round(kept["phases"]), kept["spread"], kept["freedom"])


def figures(views: Mapping[str, Tensor], scales: Mapping[str, Scale]) -> dict[str, float]:
    """Of the gradients [H,G,D] of each view, for a step's batch: `<view>/grad_norm` (root of the
    mean square), `<view>/prompt_variance` (trace of the covariance over what is drawn as a batch),
    `<view>/trace_variance` (over traces, the batch fixed; only of two halves); `cosine` of two."""
    found: dict[str, float] = {}
    squares = {v: inner(x, x, scales[v], traced=True) for v, x in views.items()}
    for view, square in squares.items():
        share = scales[view].share
        found[f"{view}/grad_norm"] = math.sqrt(max(float(square.value()), 0.0))
        found[f"{view}/prompt_variance"] = share * float(square.own.mean() - square.between)
        if len(views[view]) == 2:
            found[f"{view}/trace_variance"] = share * float(square.extra.mean())
    if len(views) == 2:
        (one, x), (two, y) = views.items()
        size = found[f"{one}/grad_norm"] * found[f"{two}/grad_norm"]
        if size > 0:
            found["cosine"] = float(inner(x, y, scales[one]).value()) / size
    return found
