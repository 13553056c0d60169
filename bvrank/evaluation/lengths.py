"""The length-controlled win rate of AlpacaEval 2 (Dubois et al., 2024, arXiv 2404.04475).

What the paper says: the preference for the model's answer z_m to an instruction x over the
baseline's z_b is

    sigmoid(theta_m - theta_b + phi tanh((len(z_m) - len(z_b)) / std) + (psi_m - psi_b) gamma_x)

and the length-controlled win rate is its mean over x with the length term set to zero. The
coefficients of the baseline are zero, and gamma_x, the instruction's difficulty, was fitted once
over all models of the leaderboard and is read from a file.

What the official package does beyond that, and so does this:
    lengths are characters; their difference (baseline less model) is divided by its standard
    deviation over the instructions (n - 1); preferences enter as they are, not rounded
    an l1 penalty, chosen among C = 1e-4 ... 1e4 (ten values) by five-fold cross-validated log-loss
    two gamed versions of the baseline (concise, verbose) are fitted along, with the weight 0.1
    each, without the model's term (its `length_controlled_v1`)

Without the file of difficulties and gamed rows the length and the model's term alone are fitted:
the package's `length_controlled_minimal`. That is another figure: of four published models it lies
0.8 to 14.5 points above the leaderboard's, most where a model writes much shorter answers.

What differs: folds are dealt in turn from the last instruction (the package's order among equals is
that of a sort which is not stable), and the fit is exact where liblinear stops at 1e-4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bvrank.data.files import read_rows
from bvrank.errors import DataError
from bvrank.evaluation.logistic import Array, fit, losses, sigmoid, spread

CS = np.logspace(-4, 4, 10)
FOLDS = 5
GAMED = 0.1  # weight of each row of a gamed baseline: 0.2, shared by two
DRAWS = 1000
COLUMNS = ("index", "preference", "std_delta_len", "instruction_difficulty")


@dataclass(frozen=True)
class Gamed:
    """The official `df_gamed.csv`: difficulty of each instruction, by index, and the rows [G] of
    gamed baselines (preference in [0, 1], normalised length difference, difficulty)."""

    difficulty: dict[int, float]
    rows: Array  # [G,3]

    @classmethod
    def read(cls, path: str) -> Gamed:
        """DataError when a column is missing, or holds no numbers."""
        found = []
        for where, row in read_rows(path):
            try:
                found.append([float(row[name] or "nan") for name in COLUMNS])
            except KeyError as error:
                raise DataError(f"has no column {error}", where=path) from None
            except (TypeError, ValueError) as error:
                raise DataError(f"is no row of numbers ({error})", where=where) from None
        table = np.array(found).reshape(-1, len(COLUMNS))
        known = table[np.isfinite(table[:, [0, 3]]).all(axis=1)]
        difficulty = {int(row[0]): float(row[3]) for row in known[::-1]}
        return cls(difficulty, table[np.isfinite(table).all(axis=1), 1:])

    def of(self, indices: Iterable[int]) -> Array:
        """Difficulties; DataError where one is not known."""
        wanted = list(indices)
        for index in wanted:
            if index not in self.difficulty:
                raise DataError(f"holds no difficulty of instruction {index}",
                                where="task.difficulty_path")  # fmt: skip
        return np.array([self.difficulty[i] for i in wanted])

    def whole(self, rows: int, path: str) -> None:
        """DataError where a file whose instructions are known by their places alone does not hold
        as many as there are difficulties: behind a gap they would have each other's."""
        if rows != len(self.difficulty):
            raise DataError(
                f"holds {rows:,} instructions, the file of task.difficulty_path "
                f"{len(self.difficulty):,}: which is whose goes by their places, in a whole file",
                where=path, repair="Name the whole file (limit=... takes its first rows).",
            )  # fmt: skip


@dataclass(frozen=True)
class Controlled:
    """The length-controlled win rate with its uncertainty. `cells` have it as their mean, and their
    scatter is its influence function, so that paired comparisons of two models are right to first
    order. `coefficients`: of length, difficulty (where there is a file) and model."""

    value: float
    stderr: float
    interval: tuple[float, float]
    cells: Array
    coefficients: Array


def controlled(preferences: Array, longer: Array, indices: Sequence[int] = (),
               gamed: Gamed | None = None, seed: int = 0) -> Controlled:  # fmt: skip
    """`preferences` [N]: for the model, in [0, 1]. `longer` [N]: by how many characters the
    baseline's answers are. `indices` of the instructions among the official ones, with `gamed`."""
    x, goal = _features(longer, indices, gamed)
    own = _Problem(x, preferences, goal, *_beside(gamed, x.shape[1]))
    c = own.best()
    n = len(x)
    b = own.fit(np.ones(n), c)
    value = float(sigmoid(goal @ b).mean())

    def drawn(counts: Array) -> float:
        again = own.fit(counts, c, b)
        return float(counts @ sigmoid(goal @ again) / n)

    cells = own.influence(b, value)
    if b[-1]:
        error, low, high = spread(drawn, preferences, seed, DRAWS)
    else:  # a penalty that leaves nothing of the model is no certainty
        error, low, high = spread(
            lambda counts: float(counts @ cells / n), preferences, seed, DRAWS
        )
    return Controlled(value, error, (low, high), cells, b)


def _features(longer: Array, indices: Sequence[int], gamed: Gamed | None
              ) -> tuple[Array, Array]:  # fmt: skip
    """What is fitted [N,F], and the same at no difference of length."""
    deviation = longer.std(ddof=1) if len(longer) > 1 else 0.0
    length = np.tanh(longer / deviation) if deviation else np.zeros(len(longer))
    columns = [length, np.ones(len(longer))]
    if gamed is not None:
        columns.insert(1, gamed.of(indices))
    x = np.stack(columns, axis=1)
    goal = x.copy()
    goal[:, 0] = 0.0
    return x, goal


def _beside(gamed: Gamed | None, width: int) -> tuple[Array, Array]:
    """Features and preferences of the gamed baselines; none without them."""
    if gamed is None:
        return np.zeros((0, width)), np.zeros(0)
    rows = gamed.rows
    x = np.stack([np.tanh(rows[:, 1]), rows[:, 2], np.zeros(len(rows))], axis=1)
    return x, rows[:, 0]


@dataclass(frozen=True)
class _Problem:
    x: Array
    y: Array
    goal: Array
    other_x: Array
    other_y: Array

    def fit(self, counts: Array, c: float, start: Array | None = None,
            others: Array | None = None) -> Array:  # fmt: skip
        """With each own row counted so often, and the rows beside them too."""
        beside = np.full(len(self.other_y), GAMED) if others is None else others
        weights = np.concatenate([counts, beside])
        x, y = np.concatenate([self.x, self.other_x]), np.concatenate([self.y, self.other_y])
        return fit(x, y, weights, l1=1 / c, start=start)

    def best(self) -> float:
        """The C whose held-out log-loss is least; the largest where nothing can be held out."""
        beside = np.full(len(self.other_y), GAMED)
        folds = self._folds()
        if len(folds) < 2:
            return float(CS[-1])
        means = []
        for c in CS:
            found, start = [], None
            for held, held_beside in folds:
                b = start = self.fit((~held).astype(np.float64), c, start, beside * ~held_beside)
                loss = np.concatenate([
                    losses(self.x[held], self.y[held], b),
                    beside[held_beside]
                    * losses(self.other_x[held_beside], self.other_y[held_beside], b),
                ])  # fmt: skip
                found.append(loss.mean())
            means.append(np.mean(found))
        return float(CS[int(np.argmin(means))])

    def _folds(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Who is held out; gamed rows come first."""
        others, own = len(self.other_y), len(self.y)
        fold = np.arange(others + own)[::-1] % FOLDS
        found = [(fold[others:] == k, fold[:others] == k) for k in range(min(FOLDS, own))]
        return [(a, b) for a, b in found if a.any() and not a.all()]

    def influence(self, b: Array, value: float) -> Array:
        """Cells [N] with the mean `value`, of which each tells what its row does to it; where the
        penalty left no term of the model, what it would without penalty."""
        counted, (p, q) = (b != 0) | (b[-1] == 0), (sigmoid(self.x @ b), sigmoid(self.goal @ b))
        hessian = (self.x.T * (p * (1 - p))) @ self.x
        if len(self.other_y):
            r = sigmoid(self.other_x @ b)
            hessian = hessian + (self.other_x.T * (GAMED * r * (1 - r))) @ self.other_x
        slope = (self.goal.T * (q * (1 - q))).mean(axis=1)
        own = hessian[np.ix_(counted, counted)] + 1e-9 * np.eye(int(counted.sum()))
        direction = np.linalg.solve(own, slope[counted]) if counted.any() else np.zeros(0)
        moved = (self.x[:, counted] * (self.y - p)[:, None]) @ direction * len(self.y) + q
        cells: Array = moved - moved.mean() + value
        return cells
