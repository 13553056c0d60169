"""The verifier of the arithmetic world, as a reward."""

from __future__ import annotations

from bvrank.data.arithmetic import problems
from bvrank.records import Asked, Scored
from bvrank.rewards.arithmetic import Arithmetic


def test_right_is_one_and_wrong_is_zero() -> None:
    asked = [Asked(p.question, (), p.answer, p.answer) for p in problems(5, 0, "test")]
    assert [s.score for s in Arithmetic().scores(asked)] == [1.0] * 5
    wrong = [
        Asked("a", (), "23 or 24", "23"),
        Asked("b", (), "", "23"),
        Asked("c", (), "23.", "23"),
    ]
    assert [s.score for s in Arithmetic().scores(wrong)] == [0.0, 0.0, 1.0]


def test_without_a_gold_there_is_no_score() -> None:
    assert [*Arithmetic().scores([Asked("a", (), "1")])] == [Scored("a", None, "no_gold")]
    assert Arithmetic().needs_gold


def test_answers_are_read_one_by_one() -> None:
    left = iter([Asked("a", (), "1", "1"), Asked("b", (), "1", "1")])
    assert next(Arithmetic().scores(left)).key == "a" and next(left).key == "b"
    assert Arithmetic().identity == "arithmetic 1"
