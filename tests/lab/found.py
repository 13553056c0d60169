"""A result without measuring one: two policies of a world, and training told in a few numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bvrank.lab.check import Check
from bvrank.lab.result import Result

MEANS = {"b_t": 1.0, "b_e": 2.0, "b_t.b_e": 0.5, "s_t": 9.0, "s_e": 0.0, "s_te": 0.0,
         "a": 0.3, "alpha": 0.3, "argmin": 0.3, "mse": 2.0, "mse_t": 10.0, "mse_e": 4.0,
         "mse_half": 3.0}  # fmt: skip


def estimator(size: int, bias: float = 4.0) -> dict[str, Any]:
    bias = bias / size
    return {"traces": size, "bias2": bias**2, "stderr": 0.01 * bias**2, "variance": 9.0 / size,
            "loss_bias": 0.1 / size, "loss_stderr": 0.001, "draws": 0 if size == 1 else 512,
            "bias": bias}  # fmt: skip


def cell(world: int, distance: float, sizes: tuple[int, ...] = ()) -> dict[str, Any]:
    given = {name: dict(MEANS) for name in ("data", "prompt", "independent")}
    return {"world": world, "distance": distance, "loss": 0.69, "kl": 0.1, "rms": 0.2, "mu": 3.0,
            "given": given, "estimators": [estimator(s) for s in sizes]}  # fmt: skip


def arm(points: list[int], end: float) -> dict[str, Any]:
    flat = [[0.4, 0.1]] * len(points)
    return {"steps": [0, 2, 4], "loss": [[0.69, 0.0], [0.5, 0.1], [end, 0.1]],
            "norm": [[3.0, 0.5], [2.0, 0.5], [1.0, 0.5]], "points": points, "alpha": flat,
            "bias2": flat, "variance": flat, "above_exact": [end - 0.1, 0.05],
            "above_trace": 2, "diverged": 0}  # fmt: skip


def training(bound: bool = True) -> dict[str, Any]:
    side = {"measured": [5.0, 1.0], "bound": [20.0, 2.0], "start": [10.0, 1.0],
            "bias2": [4.0, 1.0], "variance": [7.0, 1.0], "noise": [6.0, 1.0],
            "exceeded": 0}  # fmt: skip
    told: dict[str, Any] = {"worlds": 3, "rules": {"sgd": {
        "g_t": arm([0, 2], 0.2), "alpha*": arm([0, 2, 4], 0.3), "exact": arm([], 0.1),
    }}}  # fmt: skip
    if bound:
        told["bound"] = {"margin": 1.5, "covered": 2, "worlds": 3, "eta": [0.1, 0.2],
                         "L": [3.0, 4.0], "eta_L": [0.3, 1.2], "arms": {"g_t": side}}  # fmt: skip
    return told


def result(**changed: Any) -> Result:
    cells = [cell(7, 0.0), cell(7, 0.5, (1, 2, 4, 8))]
    curve = np.linspace(0, 1, 5)
    arrays = {f"7/{c['distance']:g}/{name}": curve + 1 for c in cells
              for name in ("mse", "bias2", "variance")}  # fmt: skip
    arrays |= {f"7/{c['distance']:g}/alpha": curve for c in cells}
    checks = [Check("1", "ratio", 1e-15, 1e-10), Check("", "model", 2e-15, 1e-10)]
    whole = Result({"batch": 4, "shape": {"alphabet": 4}, "distances": [0, 0.5]}, cells, checks,
                   training(), arrays)  # fmt: skip
    return replace(whole, **changed)


BROKEN = Check("2", "domination", math.nan, 1e-12)
