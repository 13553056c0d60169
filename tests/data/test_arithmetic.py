"""The generator: distinct, reproducible, disjoint, and right. The verifier: exact."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.arithmetic import Problem, correct, problems

seeds = st.integers(0, 2**32)


@given(seeds, seeds, st.integers(1, 5))
def test_train_and_test_share_no_problem(train_seed: int, test_seed: int, steps: int) -> None:
    def terms(problem: Problem) -> str:
        return "".join(sorted(problem.question))

    train = {terms(p) for p in problems(40, train_seed, "train", steps)}
    test = {terms(p) for p in problems(5, test_seed, "test", steps)}
    assert not train & test


def test_the_two_splits_are_the_whole_space() -> None:
    sizes = {"train": 0, "test": 0}
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=f"only .* {split} problems of 2 steps"):
            problems(1001, 0, split, steps=2)
        while True:
            try:
                found = problems(sizes[split] + 1, 0, split, steps=2)
            except ValueError:
                break
            sizes[split] = len({p.question for p in found})
    assert sum(sizes.values()) == 1000
    assert 0.1 < sizes["test"] / 1000 < 0.3


@given(seeds, st.integers(0, 200), st.integers(1, 6))
def test_every_step_and_answer_is_true(seed: int, count: int, steps: int) -> None:
    for problem in problems(min(count, 40), seed, "train", steps):
        assert re.fullmatch(r"\d(\+\d)+=\?", problem.question)
        assert int(problem.answer) == sum(map(int, re.findall(r"\d", problem.question)))
        sums = re.findall(r"(\d+)\+(\d)=(\d+)", problem.trace)
        assert len(sums) == steps == len(problem.trace.split())
        assert all(int(a) + int(b) == int(c) for a, b, c in sums)
        assert sums[-1][2] == problem.answer


def test_problems_are_distinct_repeatable_and_prefix_stable() -> None:
    found = problems(500, 3, "train")
    assert len(set(found)) == 500
    assert found == problems(500, 3, "train")
    assert found[:20] == problems(20, 3, "train")
    assert found[:20] != problems(20, 4, "train")


def test_a_published_problem_stays_what_it_was() -> None:
    assert problems(1, 0, "train") == [
        Problem("9+9+3+4+7=?", "9+9=18 18+3=21 21+4=25 25+7=32", "32")
    ]


@pytest.mark.parametrize("bad", [{"split": "dev"}, {"count": -1}, {"steps": 0}])
def test_wrong_arguments_are_named(bad: dict[str, object]) -> None:
    [(name, value)] = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        problems(**({"count": 1, "seed": 0, "split": "train"} | bad))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["32", " 32", "32\n", "\t32 \n\n", "32.", "32 . "])
def test_white_space_and_a_full_stop_are_forgiven(text: str) -> None:
    assert correct(text, "32")
    assert correct(text, Problem("q", "t", "32"))


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "3", "132", "320", "032", "3 2", "32..", "=32", "32 or 33", "<think>32", "+32"],
)
def test_anything_else_is_wrong(text: str) -> None:
    assert not correct(text, "32")
