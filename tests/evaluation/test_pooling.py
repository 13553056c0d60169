"""Seeds of an evaluation are one policy, averaged prompt by prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bvrank.evaluation.pooling import (
    aligned,
    elsewhere,
    is_mean,
    is_superseded,
    of_older,
    policies,
    pooled,
)
from bvrank.evaluation.result import Result
from bvrank.statistics import Estimate, estimate
from tests.evaluation.test_comparison import draws, result

NAME = "x/avg@4"


def test_one_evaluation_has_its_own_figure() -> None:
    only = result({NAME: draws(0)})
    assert pooled([only], NAME) is only.figures[NAME]


def test_several_are_one_of_the_means_whatever_the_order_of_prompts() -> None:
    a, b = draws(0), draws(1)
    other = result({NAME: b}, 1)
    turned = replace(other, cells={NAME: dict(reversed(other.cells[NAME].items()))})
    found = pooled([result({NAME: a}), turned], NAME)
    assert found == estimate((np.array(a) + np.array(b)) / 2, bounds=(0.0, 1.0))
    assert found.prompts == 30 and found.runs == 1


def at(url: str, seed: int = 0, policy: str = "p") -> Result:
    settings = {"seed": seed, "n": 4, "task": {}, "sampler": {"server": {"base_url": url}}}
    return result({NAME: draws(seed)}, settings=settings, policy=policy)


def test_one_policy_at_two_addresses_is_told() -> None:
    one, two = at("http://a/v1"), at("http://b/v1", 1)
    assert elsewhere([one, two, one]) == [
        "answered at 2 addresses (http://a/v1, http://b/v1), taken for one policy"
    ]
    assert elsewhere([one, at("http://a/v1/")]) == elsewhere([one, replace(two, policy="q")]) == []
    assert elsewhere([result({NAME: draws(0)}), result({NAME: draws(1)})]) == []


def test_a_newer_version_takes_the_place_of_the_same_alone() -> None:
    old = result({NAME: draws(0)}, version=2, policy="p")
    same = replace(old, version=3, settings=old.settings | {"seed": 5})
    assert is_superseded(old, [old, same]) and not is_superseded(same, [old, same])
    for other in ({"policy": "q"}, {"step": 7}, {"task": "u"}, {"version": 2},
                  {"settings": old.settings | {"n": 8}}):  # fmt: skip
        assert not is_superseded(old, [replace(same, **other)])
    assert of_older([old, replace(old, version=1), old]) == [
        "t: 1 evaluation of version 1 left out: a newer version measured the same",
        "t: 2 evaluations of version 2 left out: a newer version measured the same",
    ]


def of_file(name: str, values: list[float], digest: str = "h") -> Result:
    """As `bvrank evaluate` writes it: prompts by file and row, and the hash of the file."""
    path = {"prompts": {"path": f"/somewhere/{name}"}}
    settings = {"seed": 0, "task": path, "data": {"task.prompts.path": digest}}
    r = result({NAME: values}, settings=settings)
    return replace(r, cells={NAME: {f"{name}:{i}": v for i, v in enumerate(values)}})


def test_a_copy_of_a_file_holds_the_same_prompts() -> None:
    a, b = draws(0), draws(1)
    found = pooled([of_file("a.jsonl", a), of_file("b.jsonl", b)], NAME)
    assert found == estimate((np.array(a) + np.array(b)) / 2, bounds=(0.0, 1.0))
    other = pooled([of_file("a.jsonl", a), of_file("b.jsonl", b, "another")], NAME)
    assert other.prompts == 60
    first, second = aligned([of_file("a.jsonl", a, "x"), of_file("a.jsonl", b, "y")])
    assert first.cells.keys() == second.cells.keys()  # no file but by its name
    silent = replace(of_file("a.jsonl", a), settings={"seed": 0})
    kept = aligned([of_file("b.jsonl", a), silent])[1]
    assert kept.cells == silent.cells


def test_the_same_twice_is_no_surer_than_once() -> None:
    """Clustered by prompt: two evaluations that agree hold no more than one."""
    a = draws(0)
    once, twice = (pooled([result({NAME: a}, s) for s in range(n)], NAME) for n in (1, 2))
    assert twice.interval == estimate(np.array(a), bounds=(0.0, 1.0)).interval
    assert twice.prompts == once.prompts == 30


def test_a_prompt_of_one_evaluation_counts_with_what_is_there() -> None:
    first, second = result({NAME: [1.0, 0.0, 1.0]}), result({NAME: [0.0, 0.0]}, 1)
    assert pooled([first, second], NAME).value == pytest.approx((0.5 + 0.0 + 1.0) / 3)


def test_a_fitted_figure_has_the_mean_of_intervals() -> None:
    fitted = [Estimate(0.9, 0.1, (0.7, 1.0), 30, 1), Estimate(0.5, 0.3, (0.1, 0.6), 29, 1)]
    results = [result({"lc": draws(n)}, n, figures={"lc": e}) for n, e in enumerate(fitted)]
    assert not is_mean(results[0], "lc")
    found = pooled(results, "lc")
    assert (found.value, found.stderr) == (pytest.approx(0.7), pytest.approx(0.2))
    assert found.interval == (pytest.approx(0.4), pytest.approx(0.8)) and found.prompts == 29


@pytest.mark.parametrize("cell", [None, 10**400, float("nan"), "1"])
def test_cells_that_are_no_numbers_make_no_mean(cell: object) -> None:
    damaged = replace(result({NAME: [1.0, 0.0]}), cells={NAME: {"a": cell, "b": 1.0}})  # type: ignore[dict-item]
    assert not is_mean(damaged, NAME) and not is_mean(damaged, "elsewhere")


def test_policies_by_name_or_by_model_and_step() -> None:
    new = [result({NAME: [1.0]}, s, policy=p) for s, p in enumerate("aab")]
    assert list(map(len, policies(new))) == [2, 1]
    old = [result({NAME: [1.0]}, s, model="m", step=s // 2) for s in range(3)]
    assert list(map(len, policies(old))) == [2, 1]
