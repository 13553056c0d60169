"""The study without training: every figure of a world at every distance, and every check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch

from bvrank.lab.check import Check
from bvrank.lab.checks import (
    COARSE,
    argmin,
    at_reference,
    on_algebra,
    on_minimum,
    on_variance,
)
from bvrank.lab.moments import Candidates, Given, Gradients, Moments, candidates, gradients, moments
from bvrank.lab.options import Settings
from bvrank.lab.policy import World, moved, world
from bvrank.lab.scoring import Score, Weights
from bvrank.lab.side import Advance, side_by_side
from bvrank.lab.traces import estimators


@dataclass(frozen=True)
class Cell:
    """A world at a distance: `figures` as JSON takes them, `arrays` by name, and checks."""

    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]
    checks: list[Check]


def studied(settings: Settings, advance: Advance) -> list[Cell]:
    """Every world of `settings` at every distance, the reference first. `advance` is called behind
    each."""
    seeds = range(settings.seed, settings.seed + settings.worlds)
    found = side_by_side(partial(_studied, settings), seeds, settings.threads, advance)
    return [cell for cells in found for cell in cells]


def _studied(settings: Settings, seed: int, advance: Advance) -> list[Cell]:
    own = world(Score(settings.shape), settings.beta, settings.bare_from, seed)
    distances, cells = sorted(settings.distances), []
    for distance in distances:
        weights = moved(own, distance, settings.direction, seed)
        cells.append(_cell(settings, own, weights, seed, distance, distance == distances[-1]))
        advance()
    return cells


def _cell(settings: Settings, own: World, weights: Weights, seed: int, distance: float, last: bool
          ) -> Cell:  # fmt: skip
    found = candidates(own, weights)
    exact = gradients(own, found)
    kinds = get_args(Given)
    means = {given: moments(exact, given, settings.batch) for given in kinds}
    data = means["data"]
    checks = [*on_algebra(own, weights, found, exact, seed), *on_variance(own, found, exact, data)]
    for mean in means.values():
        checks += on_minimum(mean)
    if distance == 0:
        checks.append(at_reference(data))
    figures = _where(own, weights, found, seed, distance) | {
        "given": {given: described(mean) for given, mean in means.items()},
        "mu": float(data.mu.norm()),
        "estimators": _estimators(settings, own, found, exact, seed) if last else [],
    }
    return Cell(figures, _arrays(data, exact), checks)


def _where(own: World, weights: Weights, found: Candidates, seed: int, distance: float
           ) -> dict[str, Any]:  # fmt: skip
    with torch.no_grad():
        loss = float(own.loss(weights).mean())
    kl, rms = own.divergence(found.policy)
    return {"world": seed, "distance": distance, "loss": loss, "kl": float(kl), "rms": float(rms)}


def _estimators(settings: Settings, own: World, found: Candidates, exact: Gradients, seed: int
                ) -> list[dict[str, Any]]:  # fmt: skip
    sizes, draws = sorted(settings.sampling.sizes), settings.sampling.draws
    made = estimators(own, found, exact, sizes, draws, seed)
    return [asdict(e) | {"bias": e.bias} for e in made]


def described(m: Moments) -> dict[str, float]:
    """The figures of a step's gradient."""
    a = m.minimum()
    at = torch.tensor([m.alpha(), 1.0, 0.0, 0.5], dtype=torch.float64)
    best, t, e, half = m.mse(at).tolist()
    return {
        "b_t": float(m.b_t.norm()), "b_e": float(m.b_e.norm()),
        "b_t.b_e": float(m.b_t @ m.b_e), "s_t": m.s_t, "s_e": m.s_e, "s_te": m.s_te,
        "a": a, "alpha": m.alpha(), "argmin": argmin(m), "mse": best, "mse_t": t, "mse_e": e,
        "mse_half": half,
    }  # fmt: skip


def _arrays(m: Moments, exact: Gradients) -> dict[str, np.ndarray]:
    """The curve over alpha, and the gradients themselves."""
    alpha = torch.linspace(0, 1, COARSE, dtype=torch.float64)
    found = {
        "alpha": alpha, "mse": m.mse(alpha), "bias2": m.bias2(alpha),
        "variance": m.variance(alpha), "mu": exact.mu, "trace": exact.trace, "bare": exact.bare,
        "square": exact.square,
    }  # fmt: skip
    return {name: value.numpy() for name, value in found.items()}
