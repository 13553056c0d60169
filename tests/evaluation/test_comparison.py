"""Arms compared prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bvrank.errors import RunError
from bvrank.evaluation.comparison import adjusted, compared
from bvrank.evaluation.result import Result
from bvrank.statistics import Estimate, difference, needed

NAMES = ("a", "b")


def result(cells: Mapping[str, list[float]], seed: int = 0, **fields: Any) -> Result:
    figures = {k: Estimate(float(np.mean(v)), 0.1, (0, 1), len(v), 1) for k, v in cells.items()}
    given = {
        "task": "t", "version": 1, "step": None, "model": "m", "counts": {}, "notes": [],
        "settings": {"seed": seed, "n": 4, "task": {}, "data": {}}, "figures": figures,
        "cells": {k: {f"p{i}": x for i, x in enumerate(v)} for k, v in cells.items()},
    }  # fmt: skip
    return Result(**(given | fields))


def draws(seed: int, shift: float = 0.0) -> list[float]:
    return list(np.random.default_rng(seed).random(30) + shift)


def test_differences_are_paired_by_prompt_whatever_their_order() -> None:
    a, b = draws(0), draws(1)
    other = result({"x/avg@4": b})
    turned = {"x/avg@4": dict(reversed(other.cells["x/avg@4"].items()))}
    second = replace(other, cells=turned)
    rows, notes = compared({"t": [result({"x/avg@4": a})]}, {"t": [second]}, NAMES)
    (row,) = rows
    assert row.found == difference(np.array(a), np.array(b))
    assert notes == ["t: one policy in a and in b: intervals and p say nothing of what another "
                     "training run would give"]  # fmt: skip
    assert row.values == (pytest.approx(np.mean(a)), pytest.approx(np.mean(b)))
    assert row.needed == needed(np.array(b) - np.array(a), 0.01)


def test_runs_pair_by_seed() -> None:
    a, b = ([result({"y": draws(s + d)}, s, model=f"m{s}") for s in (0, 1)] for d in (0, 10))
    ((row,), notes) = compared({"t": a}, {"t": b}, NAMES)
    cells = [np.array([[*r.cells["y"].values()] for r in arm]).T.copy() for arm in (a, b)]
    assert row.found == difference(*cells) and row.found.estimate.runs == 2
    assert ["paired" in notes[0], "84 %" in notes[1], len(notes)] == [True, True, 2]


def test_an_arm_that_was_asked_at_two_addresses_says_so() -> None:
    def served(url: str, seed: int) -> Result:
        settings = {"seed": seed, "task": {}, "sampler": {"server": {"base_url": url}}}
        return result({"y": draws(seed)}, settings=settings)

    arms = [served("http://a", 0), served("http://b", 1)], [served("http://a", 2)]
    (row,), notes = compared({"t": arms[0]}, {"t": arms[1]}, NAMES)
    assert row.found.estimate.runs == 1
    said = [note for note in notes if "addresses" in note]
    assert said == ["t: answered at 2 addresses (http://a, http://b), taken for one policy (a)"]


def test_the_first_figure_of_each_mode_is_tested_and_adjusted() -> None:
    names = ("x/avg@4", "x/tokens", "y/avg@4", "y/tokens")
    a = result({name: draws(n) for n, name in enumerate(names)})
    b = result({name: draws(n + 9, 0.1) for n, name in enumerate(names)})
    (rows,) = adjusted([compared({"t": [a]}, {"t": [b]}, NAMES)[0]])
    tested = {row.figure: row for row in rows if row.adjusted is not None}
    assert [*tested] == ["x/avg@4", "y/avg@4"]
    low, high = sorted(tested.values(), key=lambda row: row.found.p)
    assert low.adjusted == pytest.approx(min(1, 2 * low.found.p))
    assert high.adjusted == pytest.approx(max(low.adjusted or 0, high.found.p))


def test_a_fitted_figure_is_not_compared_by_its_cells() -> None:
    fitted = {"lc": Estimate(0.9, 0.1, (0, 1), 30, 1)}
    cells = {"lc": draws(0), "wins": draws(2)}
    a, b = result(cells), result({"lc": draws(1), "wins": draws(3)})
    a = replace(a, figures={**a.figures, **fitted})
    rows, notes = compared({"t": [a]}, {"t": [b]}, NAMES)
    assert [(row.figure, row.tested) for row in rows] == [("wins", False)]
    assert notes[1:] == ["t: no mean over prompts is lc", "t: no figure is tested: lc is the first"]
    with pytest.raises(RunError, match=r"no figure can be compared.* t: no mean over prompts"):
        compared({"t": [result({"lc": draws(0)}, figures=fitted)]},
                 {"t": [result({"lc": draws(1)})]}, NAMES)  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
def test_no_other_figure_is_tested_in_the_place_of_the_first(turned: bool) -> None:
    """4 responses against 8: avg@4 is not avg@8, and what both have is not what was to be shown."""
    arms = [{"t": [result({f"x/avg@{n}": draws(n), "x/unclosed": draws(n, 0.5), **more})]}
            for n, more in ((4, {"y/kl": draws(9)}), (8, {}))]  # fmt: skip
    one, other = arms[::-1] if turned else arms
    (row,), notes = compared(one, other, NAMES)
    assert row.figure == "x/unclosed" and not row.tested
    assert adjusted([[row]])[0][0].adjusted is None
    four, eight = ("b", "a") if turned else ("a", "b")
    assert f"t: only {four} has x/avg@4, y/kl" in notes and f"t: only {eight} has x/avg@8" in notes
    there, here = ("avg@8", "avg@4") if turned else ("avg@4", "avg@8")
    assert (f"t: no figure of x is tested: the first is x/{there} there and x/{here} here"
            == notes[-1])  # fmt: skip
    some = [result({"x": draws(0), "z": draws(1)}), result({"x": draws(0)}, 1)]
    assert "t: not every evaluation has z" in compared({"t": some}, {"t": some}, NAMES)[1]


def test_a_copy_of_a_file_under_another_name_is_the_same_prompts() -> None:
    arms = []
    for seed, name in enumerate(("a.jsonl", "b.jsonl")):
        settings = {"seed": 0, "task": {"path": f"/x/{name}"}, "data": {"task.path": "h"}}
        own = result({"x": draws(seed)}, settings=settings)
        keyed = {f"{name}:{i + 1}": v for i, v in enumerate(draws(seed))}
        arms.append({"t": [replace(own, cells={"x": keyed})]})
    ((row,), _) = compared(*arms, NAMES)
    assert row.found == difference(np.array(draws(0)), np.array(draws(1)))


def test_settings_that_differ_and_runs_that_do_not_pair_are_told() -> None:
    a = [result({"x": draws(s)}, s, policy=f"p{s}") for s in (0, 1)]
    b = [result({"x": draws(7)}, 5, settings={"seed": 5, "n": 8, "task": {}, "data": {}})]
    _, notes = compared({"t": a}, {"t": b}, NAMES)
    assert notes[0] == "t: n is 4 there and 8 here"
    assert "one policy in b:" in notes[1] and "2 policies against 1" in notes[2]
    assert len(notes) == 3


def test_evaluations_of_one_policy_are_averaged_and_told() -> None:
    """A policy counts once, however often it was evaluated, and wherever its folder lies."""
    a = [result({"x": draws(s)}, s, policy="p", model=f"m{s}") for s in (0, 1)]
    b = [result({"x": draws(9 + s)}, s, policy=f"q{s // 2}") for s in range(4)]
    ((row,), notes) = compared({"t": a}, {"t": b}, NAMES)
    columns = [np.array([*r.cells["x"].values()]) for r in (*a, *b)]
    first, second = [np.mean(columns[:2], 0)], [np.mean(columns[2:4], 0), np.mean(columns[4:], 0)]
    assert row.found == difference(np.stack(first, 1), np.stack(second, 1))
    assert "the 2 evaluations in a are of 1 policy, and averaged" in notes[0]
    assert "the 4 evaluations in b are of 2 policies, and averaged" in notes[1]


def test_intervals_of_nested_seeds_cover() -> None:
    """Three evaluations of each of two trained runs an arm, which differ; the truth is 0."""
    generator, hits = np.random.default_rng(3), 0
    for _ in range(150):
        arms = []
        for _ in range(2):
            policy = generator.normal(size=(1, 2, 1)) + generator.normal(0, 0.3, (30, 2, 1))
            cells = policy + generator.normal(0, 0.3, (30, 2, 3))
            arms.append([result({"x": cells[:, p, s].tolist()}, s, policy=f"p{p}")
                         for p in range(2) for s in range(3)])  # fmt: skip
        ((row,), _) = compared({"t": arms[0]}, {"t": arms[1]}, NAMES)
        low, high = row.found.estimate.interval
        hits += low <= 0 <= high
    assert 0.9 <= hits / 150 <= 0.99


def test_the_tests_of_all_arms_are_adjusted_together() -> None:
    arms = [{"t": [result({"x": draws(n, shift)})]} for n, shift in ((0, 0), (1, 0.2), (2, 0.3))]
    tables = [compared(arms[0], other, NAMES)[0] for other in arms[1:]]
    p = [rows[0].found.p for rows in tables]
    found = [rows[0].adjusted for rows in adjusted(tables)]
    assert min(map(float, filter(None, found))) == pytest.approx(2 * min(p)) and max(p) > min(p)


@pytest.mark.parametrize(
    ("other", "said"),
    [({"u": [result({"x": draws(0)})]}, "a and b: have no task in common. There are t and u"),
     ({"t": [result({"x": draws(0)}, version=2)]}, "t was measured by its versions 1 and 2"),
     ({"t": [result({"x": draws(0)[:28]})]}, "b: t, x: 2 prompts are not in both, as p28, p29")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(other: Any, said: str) -> None:
    with pytest.raises(RunError, match=said):
        compared({"t": [result({"x": draws(0)})]}, other, NAMES)
