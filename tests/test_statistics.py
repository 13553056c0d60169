"""Estimates: unbiased errors, intervals that cover, exact closed forms."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest

from bvrank.statistics import (
    difference,
    estimate,
    holm,
    majority,
    needed,
    needed_between,
    of_runs,
    pass_at,
)


def test_of_one_run_the_error_is_that_of_a_mean() -> None:
    cells = np.random.default_rng(0).normal(2.0, 3.0, (80, 1))
    found = estimate(cells)
    assert found.value == pytest.approx(cells.mean())
    assert found.stderr == pytest.approx(cells.std(ddof=1) / math.sqrt(80))
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(1.96 * found.stderr, rel=0.05)
    assert (found.prompts, found.runs) == (80, 1)


def test_of_few_prompts_the_interval_is_students() -> None:
    low, high = estimate(np.array([1.0, 2.0, 4.0])).interval
    error = np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert (low, high) == pytest.approx((7 / 3 - 4.302653 * error, 7 / 3 + 4.302653 * error))


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_where_only_runs_differ_they_alone_count(runs: int) -> None:
    """The mean's variance is s^2 / R, with R - 1 degrees of freedom: no prompt adds to them."""
    level = np.random.default_rng(runs).normal(size=runs)
    found = estimate(np.tile(level, (50, 1)))
    error = level.std(ddof=1) / math.sqrt(runs)
    quantile = {2: 12.706205, 3: 4.302653, 5: 2.776445}[runs]
    assert found.stderr == pytest.approx(error)
    assert found.interval[1] - found.value == pytest.approx(quantile * error)


def test_the_variance_of_both_adds_up() -> None:
    generator = np.random.default_rng(1)
    prompt, run = generator.normal(size=(60, 1)), generator.normal(size=(1, 4))
    wanted = prompt.var(ddof=1) / 60 + run.var(ddof=1) / 4
    assert estimate(prompt + run).stderr ** 2 == pytest.approx(wanted)


def test_what_is_left_counts_once() -> None:
    """Cells that have nothing in common: the variance of a mean of all of them, and what components
    that are never less than 0 add."""
    generator = np.random.default_rng(8)
    found = [estimate(generator.normal(size=(40, 3))).stderr ** 2 * 120 for _ in range(200)]
    assert 1 <= np.mean(found) <= 1.6


@pytest.mark.parametrize(
    ("prompts", "runs", "least"), [(5, 1, 0.92), (60, 1, 0.9), (40, 3, 0.88), (10, 5, 0.9)]
)
def test_intervals_cover(prompts: int, runs: int, least: float) -> None:
    """Prompts and, of several, runs that differ; the truth is 0."""
    generator = np.random.default_rng(2)
    hits = 0
    for n in range(400):
        cells = generator.normal(size=(prompts, 1)) + generator.normal(size=(prompts, runs))
        cells += generator.normal(size=(1, runs)) * (runs > 1)
        low, high = estimate(cells, seed=n, draws=500).interval
        hits += low <= 0 <= high
    assert least <= hits / 400 <= 0.985


def test_the_same_seed_gives_the_same_interval() -> None:
    cells = np.random.default_rng(3).random((30, 1))
    assert estimate(cells, 5) == estimate(cells, 5) != estimate(cells, 6)


def test_a_paired_difference_does_not_see_how_hard_prompts_are() -> None:
    generator = np.random.default_rng(4)
    hard = generator.normal(0, 10, (40, 1))
    a, b = hard + generator.normal(0, 0.1, (40, 1)), hard + 0.2 + generator.normal(0, 0.1, (40, 1))
    found = difference(a, b)
    assert found.estimate.value == pytest.approx(0.2, abs=0.1) and found.p < 0.001
    assert found.estimate.stderr < 0.05 < estimate(a).stderr
    assert difference(b, a).estimate.value == pytest.approx(-found.estimate.value)


@pytest.mark.parametrize(
    ("prompts", "first", "second", "most"), [(40, 1, 1, 0.09), (5, 1, 1, 0.09), (40, 3, 3, 0.11),
                                             (40, 3, 2, 0.09), (8, 4, 4, 0.11)],
)  # fmt: skip
def test_no_difference_is_found_as_often_as_the_level_says(
    prompts: int, first: int, second: int, most: float
) -> None:
    generator = np.random.default_rng(5)
    found = []
    for n in range(400):
        hard = generator.normal(size=(prompts, 1))
        arms = [
            hard + generator.normal(size=(prompts, runs))
            + generator.normal(size=(1, runs)) * (max(first, second) > 1)
            for runs in (first, second)
        ]  # fmt: skip
        found.append(difference(*arms, seed=n, draws=500).p < 0.05)
    assert np.mean(found) <= most


def test_the_p_value_is_that_of_students_t() -> None:
    cells = np.array([0.1, 0.3, -0.1, 0.4, 0.2])
    t = cells.mean() / (cells.std(ddof=1) / math.sqrt(5))
    assert t == pytest.approx(2.092457, abs=1e-6)
    assert difference(np.zeros(5), cells).p == pytest.approx(0.104573, abs=1e-4)
    assert difference(np.zeros(5), np.ones(5)).p == 1 / 16 and difference(cells, cells).p == 1


def test_all_alike_is_no_certainty() -> None:
    """None right of n: the interval of Clopper and Pearson, 1 - 0.025^(1/n) above."""
    for n, high in ((2, 0.84189), (10, 0.30850), (30, 0.11570)):
        found = estimate(np.zeros(n), bounds=(0, 1))
        assert found.interval == pytest.approx((0, high), abs=1e-5)
        assert estimate(np.ones((n, 3)), bounds=(0, 1)).interval == pytest.approx(
            (1 - high, 1), abs=1e-5
        )
    (low, high), middle = estimate(np.full(9, 0.5), bounds=(0, 1)).interval, 0.5
    assert low == pytest.approx(1 - high) and middle - low == pytest.approx(0.3364 / 2, abs=1e-4)
    assert estimate(np.full(9, 7.0)).interval == (7, 7)  # of what nothing bounds


@pytest.mark.parametrize("n", range(2, 12))
def test_a_few_pairs_that_all_say_the_same_are_what_signs_say(n: int) -> None:
    """p = 2^(1 - n), and the interval leaves 0 out where that is below 0.05: from six pairs on."""
    for found in (difference(np.zeros(n), np.ones(n), bounds=(0, 1)),
                  difference(np.full(n, 5.0), np.full(n, 8.0))):  # fmt: skip
        (low, high), value = found.estimate.interval, found.estimate.value
        assert found.p == 2.0 ** (1 - n) and low < value == high
        assert (low > 0) == (found.p < 0.05) == (n >= 6)
    one, nothing = np.ones(n), np.zeros((n, 2))
    assert difference(nothing, one).p == difference(one, nothing).p == 2.0 ** (1 - n)
    alike = difference(one, one, bounds=(0, 1))
    assert alike.p == 1 and alike.estimate.interval[0] == -alike.estimate.interval[1] < 0


def test_rounding_is_no_difference() -> None:
    x = np.linspace(0.1, 0.9, 100)
    assert difference(x, (x / 3 + x / 3) + x / 3).p == 1
    three, two = np.full((40, 3), 0.7), np.full((40, 2), 0.1 + 0.2 + 0.4)
    assert difference(three, two, bounds=(0, 1)).p == 1


def test_no_p_of_few_pairs_is_below_that_of_signs() -> None:
    cells = np.array([1.0, 1.001, 0.999])
    assert difference(np.zeros(3), cells).p == 0.25


@pytest.mark.parametrize("n", [20, 100])
def test_right_and_wrong_are_compared_at_the_level_that_holm_reads(n: int) -> None:
    """Of m prompts that differ each is as likely to be won as lost: no p is found more often than
    it says, and prompts that do not differ change none."""
    for m in (3, 5, 6, 8, 12):
        p = [difference(np.zeros(n), np.repeat([1.0, -1.0, 0.0], [k, m - k, n - m]), draws=20).p
             for k in range(m + 1)]  # fmt: skip
        assert p[m] == 2.0 ** (1 - m)
        for level in (0.05, 0.01, 0.005, 0.001):
            found = sum(math.comb(m, k) for k in range(m + 1) if p[k] <= level)
            assert found / 2**m <= level


def test_prompts_that_do_not_differ_make_no_difference_surer() -> None:
    some = np.array([0.25, 0.5, 0.75, 0.25, 1.0, 0.5])
    for n in (7, 40, 400):
        gaps = np.concatenate([some, np.zeros(n - 6)])
        assert difference(np.zeros(n), gaps, draws=200).p >= 2.0**-5
        several = difference(np.zeros((n, 2)), np.stack([gaps, gaps], 1))
        assert several.p >= 2.0**-5


@pytest.mark.parametrize("n", [6, 12, 100])
def test_no_interval_says_what_the_test_does_not(n: int) -> None:
    """Five of twelve prompts that differ, all one way: p = 1/16."""
    for m in range(1, 7):
        for k in range(m + 1):
            b = np.repeat([1.0, -1.0, 0.0], [k, m - k, n - m])
            for values in (b, b * np.linspace(0.9, 1, n)):
                found = difference(np.zeros(n), values, draws=200)
                low, high = found.estimate.interval
                assert low <= 0 <= high or found.p < 0.05
    assert difference(np.zeros(12), np.repeat([1.0, 0.0], [5, 7])).estimate.interval[0] == 0


def test_intervals_end_where_values_do() -> None:
    assert estimate(np.array([0.5, 1.0]), bounds=(0, 1)).interval == (0, 1)
    assert difference(np.array([0.0, 1.0]), np.ones(2), bounds=(0, 1)).estimate.interval == (-1, 1)
    beyond = np.array([0.5, 1.5])  # of a fitted figure: these are no bounds
    assert estimate(beyond, bounds=(0, 1)) == estimate(beyond)


def test_other_prompts_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="3 prompts against 4"):
        difference(np.zeros(3), np.zeros(4))


def test_runs_of_another_number_keep_what_runs_add() -> None:
    """No prompt differs: each arm's runs add their variance of a mean."""
    a, b = np.tile([0.0, 1.0], (5, 1)), np.tile([1.0, 2.0, 4.0], (5, 1))
    found = difference(a, b).estimate
    wanted = np.var([0, 1], ddof=1) / 2 + np.var([1, 2, 4], ddof=1) / 3
    assert found.value == pytest.approx(7 / 3 - 0.5) and found.runs == 2
    assert found.stderr == pytest.approx(math.sqrt(wanted))


@pytest.mark.parametrize("cells", [np.zeros((0, 1)), [1.0, math.nan], [math.inf]])
def test_what_has_no_mean_is_refused(cells: object) -> None:
    with pytest.raises(ValueError, match=r"nothing|finite"):
        estimate(cells)  # type: ignore[arg-type]


def test_one_prompt_says_nothing_of_its_error() -> None:
    found = estimate(np.ones(1))
    assert found.value == 1 and math.isnan(found.stderr) and math.isnan(found.interval[0])
    assert needed(np.ones(1), 0.01) is None
    assert math.isnan(difference(np.ones(1), np.zeros(1)).p)


def test_holm() -> None:
    """The example of the procedure: 0.005, 0.01, 0.03 and 0.04 of four tests."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": math.nan})
    assert [found[k] for k in "abcd"] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(found["e"]) and holm({"x": 0.9}) == {"x": 0.9}


def test_so_many_prompts_find_it_four_times_in_five() -> None:
    generator = np.random.default_rng(6)
    n = needed(generator.normal(0, 0.5, 5000), 0.1)
    assert n is not None and n == pytest.approx(196, rel=0.05)
    found = [abs((x := generator.normal(0.1, 0.5, n)).mean()) > 1.96 * x.std() / math.sqrt(n)
             for _ in range(2000)]  # fmt: skip
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_two_independent_evaluations_take_twice_as_many() -> None:
    generator = np.random.default_rng(7)
    n = needed(generator.normal(0, 0.5, 5000), 0.1, arms=2)
    assert n is not None and n == pytest.approx(392, rel=0.05)
    found = []
    for _ in range(2000):
        a, b = generator.normal(0, 0.5, n), generator.normal(0.1, 0.5, n)
        found.append(abs(b.mean() - a.mean()) > 1.96 * math.hypot(a.std(), b.std()) / math.sqrt(n))
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)
    assert needed(np.zeros(40), 0.1) is None


def test_runs_that_scatter_are_not_outdone_by_prompts() -> None:
    generator = np.random.default_rng(9)
    zeros, cells = np.zeros((50, 3)), generator.normal(0, 0.1, (50, 3))
    apart = cells + np.array([-0.5, 0.0, 0.5])
    assert needed_between(zeros, apart, 0.01) is None and of_runs(zeros, apart) > 0.95
    assert of_runs(zeros[:, :2], apart) > 0.95 and of_runs(zeros, cells) < 0.5
    one = generator.normal(0, 0.5, (200, 1))
    assert needed_between(np.zeros((200, 1)), one, 0.1) == needed(one, 0.1)
    assert of_runs(np.zeros((200, 1)), one) == 0
    same = np.repeat(one, 2, axis=1)  # two runs that agree on every prompt
    assert needed_between(np.zeros((200, 2)), same, 0.1) == needed(one, 0.1)


@pytest.mark.parametrize(("drawn", "k"), [(6, 1), (6, 3), (6, 6)])
def test_pass_at_k_is_the_mean_over_all_choices_of_k(drawn: int, k: int) -> None:
    for right in range(drawn + 1):
        samples = [1] * right + [0] * (drawn - right)
        every = [max(chosen) for chosen in combinations(samples, k)]
        assert pass_at(right, drawn, k) == pytest.approx(np.mean(every))
    with pytest.raises(ValueError, match="pass@7"):
        pass_at(1, drawn, 7)


def test_the_majority_decides_and_ties_share() -> None:
    assert majority("aab", [1, 1, 0]) == 1 and majority("abb", [1, 0, 0]) == 0
    assert majority("ab", [1, 0]) == 0.5 and majority("abc", [1, 0, 0]) == pytest.approx(1 / 3)
    assert majority([], []) == 0 and majority("aab", [1, 0, 1]) == 0.5
    for votes in product("ab", repeat=3):
        right = [float(v == "a") for v in votes]
        assert majority(votes, right) == float(votes.count("a") > 1)
