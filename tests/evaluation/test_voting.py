"""One value is one vote, right or wrong, however it is worded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence

import pytest

from bvrank.evaluation.voting import by_text, said, votes
from bvrank.rewards.arithmetic import Arithmetic
from bvrank.rewards.math import Math
from bvrank.rewards.recorded import Recorded
from bvrank.statistics import majority

HERE = importlib.util.find_spec("math_verify") is not None


class First:
    """Has answers be one that begin alike."""

    def votes(self, groups: Iterable[Sequence[str]]) -> Iterator[list[int]]:
        yield from ([ord(answer[0]) for answer in group] for group in groups)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (r"\boxed{7}, as \frac{1}{1} shows", r"\boxed{7}"), ("It is  7.", "Itis7."),
        (r"\boxed{1}, no: \boxed{\frac{1}{ 2}} }", r"\boxed{\frac{1}{2}}"),
    ],
)  # fmt: skip
def test_the_last_box_ends_at_its_own_brace(answer: str, text: str) -> None:
    assert said(answer) == text


def test_a_grader_decides_what_is_one_vote() -> None:
    found = votes([["ab", "ac", "b"], [], ["x"]], [[0.0] * 3, [], [0.0]], First())
    assert list(found) == [[97, 97, 98], [], [120]]


def test_what_the_grader_could_not_read_is_told_apart_by_text() -> None:
    (found,) = votes([["ab", "ac", "ad", "a d"]], [[0.0, 0.0, None, None]], First())
    assert found == [97, 97, "text ad", "text ad"]


def test_right_answers_are_one_vote_and_never_that_of_wrong_ones() -> None:
    (found,) = votes([["ab", "ac", "b", "ad"]], [[1.0, 0.0, 1.0, 0.0]], First())
    assert found == ["right", 97, "right", 97]


def test_without_such_a_grader_it_is_the_text() -> None:
    """Of right and wrong ones alike: wording decides nothing for the right ones alone."""
    (found,) = votes([["7", " 7 ", r"\boxed{7}"]], [[0.0] * 3], Recorded())
    assert found[0] == found[1] != found[2]
    answers, right = ["The answer is 12", "12", "=12", "13", "13."], [0.0, 0.0, 0.0, 1.0, 1.0]
    for scores in (right, [1 - x for x in right], [None] * 5):
        (found,) = votes([answers], [scores], Recorded())
        assert len(set(found)) == 5
    assert majority(found, right) == pytest.approx(0.4)
    assert by_text(Recorded()) and not by_text(Arithmetic())


def test_the_arithmetic_world_votes_by_what_is_stated() -> None:
    (found,) = votes([["7", "7.", " 8 ", "8.", "=8"]], [[1.0, 1.0, 0.0, 0.0, 0.0]], Arithmetic())
    assert found == ["right", "right", "8", "8", "=8"]


@pytest.mark.skipif(not HERE, reason="needs math-verify")
def test_values_are_one_vote_in_any_words() -> None:
    sevens = [rf"\boxed{{7}}, as \frac{{{i}}}{{{i}}} shows" for i in range(3)]
    sevens += ["Try 2: the answer is 7", "Try 3: the answer is 7.0", r"$\frac{14}{2}$"]
    others = ["8", "no idea", "no  idea", "none"]
    found, again = votes([[*sevens, *others], ["8"]], [[0.0] * 10, [0.0]], Math())
    assert found == [0] * 6 + [1, 2, 2, 3] and again == [0]


def test_votes_show_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a grader that compares values; texts take no time."""
    groups = [["ab", "b"], ["c"]]
    scores = [[0.0, 0.0], [0.0]]
    list(votes(groups, scores, Recorded()))
    assert not capsys.readouterr().err
    list(votes(groups, scores, First()))
    assert "votes: 2/2 (100%)" in capsys.readouterr().err
