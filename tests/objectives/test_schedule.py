"""Fields of an objective along the run."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.errors import ConfigError
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.lipo import LiPO
from bvrank.objectives.schedule import Schedule, parse_schedule
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO

shares = st.floats(0, 1)


@given(st.lists(shares, min_size=2, max_size=5), shares)
def test_ends_are_exact_and_nothing_leaves_the_range(points: list[float], progress: float) -> None:
    schedule = Schedule(BVPO(), {"alpha": tuple(points)})
    assert schedule.at(0.0) == BVPO(points[0]) and schedule.at(1.0) == BVPO(points[-1])
    assert min(points) <= schedule.at(progress).alpha <= max(points)
    for i, value in enumerate(points):
        knot = schedule.values(i / (len(points) - 1))["alpha"]
        assert knot == pytest.approx(value, abs=1e-12)


def test_an_end_that_a_plain_line_misses() -> None:
    assert 0.47 + (0.1 - 0.47) != 0.1
    assert Schedule(BVPO(), {"alpha": (0.47, 0.1)}).at(1.0) == BVPO(0.1)


def test_between_two_points_it_is_a_straight_line() -> None:
    schedule = parse_schedule(BVPO(), {"alpha": [1, 0.5], "beta": [0.1, 0.3, 0.1]})
    assert schedule.at(0.5) == BVPO(0.75, 0.3)
    assert schedule.values(0.25) == {"alpha": 0.875, "beta": pytest.approx(0.2)}
    steps = [schedule.values(i / 10)["alpha"] for i in range(11)]
    assert [a - b for a, b in pairwise(steps)] == pytest.approx([0.05] * 10)


def test_progress_outside_the_run_is_its_end() -> None:
    schedule = parse_schedule(BVPO(), {"alpha": [1.0, 0.5]})
    assert schedule.at(-1.0).alpha == 1.0 and schedule.at(2.0).alpha == 0.5


def test_whole_numbers_stay_whole_and_numbers_that_look_whole_do_not() -> None:
    ks = [parse_schedule(IRPO(), {"k": [1, 4]}).at(p / 6).k for p in range(7)]
    assert ks == [1, 2, 2, 2, 3, 4, 4] and all(isinstance(k, int) for k in ks)
    assert parse_schedule(DPO(beta=1), {"beta": [1, 0]} | {"beta": [1, 0.5]}).at(0.5).beta == 0.75


@pytest.mark.parametrize("node", [
    {"loss.beta": [1.0, 3.0], "alpha": [1.0, 0.5]},
    {"loss": {"beta": [1.0, 3.0]}, "alpha": [1.0, 0.5]},
])  # fmt: skip
def test_a_field_of_the_objective_inside(node: dict[str, Any]) -> None:
    """However it is written, and without a trace of it in other fields."""
    schedule = parse_schedule(BVPO(loss=SimPO(gamma=0.7)), node)
    assert schedule.at(0.5) == BVPO(0.75, loss=SimPO(2.0, gamma=0.7))
    assert schedule.values(1.0) == {"loss.beta": 3.0, "alpha": 0.5}
    assert schedule.objective == BVPO(loss=SimPO(gamma=0.7))  # what it began with
    assert schedule.views() == ("full", "bare")


def test_whole_numbers_inside_stay_whole() -> None:
    schedule = parse_schedule(BVPO(loss=IRPO()), {"loss.k": [1, 4]})
    assert [schedule.at(p / 6).loss.k for p in range(7)] == [1, 2, 2, 2, 3, 4, 4]


def test_a_field_that_may_be_none_takes_numbers() -> None:
    schedule = parse_schedule(BVPO(), {"bare_beta": [0.2, 0.4]})
    assert schedule.at(0.5).bare_beta == pytest.approx(0.3)


def test_variants_are_one_for_each_set_of_views() -> None:
    found = parse_schedule(BVPO(), {"alpha": [1.0, 0.0]}).variants()
    assert {o.views for o in found} == {("full",), ("full", "bare"), ("bare",)} and len(found) == 3
    assert parse_schedule(DPO(), {"beta": [0.1, 0.2]}).variants()[0].views == ("full",)
    assert len(parse_schedule(DPO(), {"beta": [0.1, 0.2]}).variants()) == 1


def test_an_empty_schedule_is_the_objective() -> None:
    objective = BVPO(0.3)
    assert parse_schedule(objective, {}).at(0.7) is objective
    assert parse_schedule(objective, {}).values(0.7) == {}


@pytest.mark.parametrize(("points", "views"), [
    ([1.0, 0.0], ("full", "bare")), ([1.0, 0.5], ("full", "bare")), ([0.0, 0.0], ("bare",)),
    ([1.0, 1.0], ("full",)), ([0.0, 1.0, 0.0], ("full", "bare")),
])  # fmt: skip
def test_views_are_those_of_the_whole_run(points: list[float], views: tuple[str, ...]) -> None:
    assert parse_schedule(BVPO(), {"alpha": points}).views() == views


@pytest.mark.parametrize(("node", "where", "what"), [
    ({"alhpa": [0, 1]}, "schedule.alhpa", "Did you mean 'alpha'"),
    ({"view": [0, 1]}, "schedule.view", "not a number"),
    ({"alpha": 0.5}, "schedule.alpha", "two or more finite numbers"),
    ({"alpha": [0.5]}, "schedule.alpha", "from, to, over the run"),
    ({"alpha": "01"}, "schedule.alpha", "two or more finite numbers"),
    ({"alpha": [0, "1"]}, "schedule.alpha", "two or more finite numbers"),
    ({"alpha": [True, False]}, "schedule.alpha", "two or more finite numbers"),
    ({"alpha": [0, math.nan]}, "schedule.alpha", "two or more finite numbers"),
    ({"alpha": [0, 2]}, "schedule.alpha", r"must lie in \[0, 1\]"),
    ({"loss.btea": [0.1, 1]}, "schedule.loss.btea", "Did you mean 'loss.beta'"),
    ({"loss": {"btea": [0.1, 1]}}, "schedule.loss.btea", "Did you mean 'loss.beta'"),
    ({"loss.beta": [0.1, -1]}, "schedule.loss.beta", r"must lie in \(0, inf\)"),
    ({"loss.beta": [0.1]}, "schedule.loss.beta", "from, to, over the run"),
    ({"loss": {"beta": {"too": [0, 1]}}}, "schedule.loss.beta.too", "not a number"),
    ({"loss": [0, 1]}, "schedule.loss", "not a number that BVPO has"),
    ({"loss.view": [0, 1]}, "schedule.loss.view", "not a number that BVPO has"),
    ({"beta.loss": [0, 1]}, "schedule.beta.loss", "not a number"),
])  # fmt: skip
def test_what_cannot_be_scheduled(node: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_schedule(BVPO(), node)
    assert caught.value.where == where


@pytest.mark.parametrize(("objective", "node", "where"), [
    (BVPO(loss=SFT()), {"beta": [0.1, 0.4]}, "schedule.beta"),  # none
    (BVPO(loss=SFT()), {"loss.beta": [0.1, 0.4]}, "schedule.loss.beta"),
    (BVPO(loss=LiPO()), {"loss.sft_weight": [0.0, -0.1]}, "schedule.loss.sft_weight"),
])  # fmt: skip
def test_what_the_mix_refuses_is_named_as_scheduled(objective: Any, node: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule(objective, node)
    assert caught.value.where == where


def test_a_whole_number_field_takes_no_infinity() -> None:
    with pytest.raises(ConfigError, match="finite"):
        parse_schedule(IRPO(), {"k": [1, math.inf]})


def test_text_and_flags_are_no_numbers() -> None:
    for name in ("normalize", "form"):
        with pytest.raises(ConfigError, match="not a number that IRPO has"):
            parse_schedule(IRPO(), {name: [0, 1]})
