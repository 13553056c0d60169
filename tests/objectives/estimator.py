"""IRPO's sampled estimator: how far one draw lies from the exact gradient.

For each anchor i it draws one j ~ rho_i and adds beta w(i) sigma(-z_i) grad[s_j - s_i] / beta; the
exact sum over j costs nothing more once a list is scored. `python -m tests.objectives.estimator`
prints a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from bvrank.objectives.irpo import IRPO
from tests.objectives.oracles import lists

SIZES = (2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Moments:
    """Of the estimator, in the space of scores."""

    mean: Tensor  # [n]
    variance: float  # trace of the covariance
    relative: float  # the same over the squared norm of the mean


def pulls(scores: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """w(i) sigma(-z_i) [n], and rho_ij [n,n]: softmax over j of s_j - s_i."""
    prefs = lists(relevance.tolist(), scores.tolist())
    w = IRPO(1.0).weights(prefs, prefs.policy)[0, 0]
    delta = scores.unsqueeze(0) - scores.unsqueeze(1)  # [i,j]
    z = -delta.logsumexp(-1)
    return w * torch.sigmoid(-z), delta.softmax(-1)


def estimator_moments(scores: Tensor, relevance: Tensor) -> Moments:
    """Exact mean and variance; the draws of different anchors are independent."""
    a, rho = pulls(scores, relevance)
    mean = (a.unsqueeze(1) * (rho - torch.eye(len(a), dtype=a.dtype))).sum(0)
    variance = float((a**2 * (1 - (rho**2).sum(1))).sum())  # a one-hot's: 1 - sum rho^2
    return Moments(mean, variance, variance / float((mean**2).sum()))


def simulated(scores: Tensor, relevance: Tensor, draws: int, seed: int) -> Tensor:
    """The estimator itself [draws,n]."""
    make = torch.Generator().manual_seed(seed)
    a, rho = pulls(scores, relevance)
    drawn = torch.multinomial(rho, draws, replacement=True, generator=make)  # [n,draws]
    eye = torch.eye(len(a), dtype=a.dtype)
    return (a[:, None, None] * (eye[drawn] - eye.unsqueeze(1))).sum(0)


def random_list(size: int, spread: float, make: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores ~ N(0, spread^2); one item in five (one at least) is relevant, by 1 or 2."""
    scores = torch.randn(size, generator=make, dtype=torch.float64) * spread
    relevance = torch.zeros(size, dtype=torch.float64)
    chosen = torch.randperm(size, generator=make)[: max(1, size // 5)]
    relevance[chosen] = torch.randint(1, 3, chosen.shape, generator=make).double()
    return scores, relevance


def relative_variances(size: int, spread: float, count: int, seed: int) -> list[float]:
    """Over `count` lists, sorted."""
    make = torch.Generator().manual_seed(seed)
    found = (estimator_moments(*random_list(size, spread, make)) for _ in range(count))
    return sorted(m.relative for m in found)


def table(count: int = 1000, seed: int = 0) -> str:
    """Variance of one draw over the squared norm of the exact gradient."""
    lines = [
        f"IRPO (paper form, dcg), {count} lists per row, seed {seed}: tr Cov(g_hat) / |g|^2,",
        "median over lists [2.5 %, 97.5 %]; draws: for an error of 10 % of |g|, at the median",
        f"{'n':>4}" + "".join(f"  {h:>24}" for h in ("s = 0", "s ~ N(0,1)", "s ~ N(0,9)"))
        + "  draws (s ~ N(0,1))",
    ]  # fmt: skip
    for size in SIZES:
        cells, middle = [], 0.0
        for spread in (0.0, 1.0, 3.0):
            found = relative_variances(size, spread, count, seed)
            low, high = found[int(0.025 * count)], found[math.ceil(0.975 * count) - 1]
            cells.append(f"{median(found):.3f} [{low:.3f}, {high:.3f}]")
            middle = median(found) if spread == 1.0 else middle
        lines.append(
            f"{size:>4}  " + "  ".join(f"{c:>24}" for c in cells) + f"  {middle / 0.01:>18.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
