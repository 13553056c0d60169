"""The last box of an answer is what it says, whatever numbers and boxes stand around it."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("math_verify")

from bvrank.rewards.grading import alike, verdict

BEFORE = ["", "It is 7. ", r"$\boxed{7}$ at first. ", r"\boxed{\frac{7}{2}}, and so: ",
          "The final answer is $7$. I hope it is. ", r"By $x=7$ and \boxed{7 ",
          "\\boxed{} \\} { "]  # fmt: skip
AFTER = ["", ".", " Check: 7 = 14 / 2.", " The final answer is $7$. I hope it is correct.",
         "$ and $x = 7$.", r" \boxed{}", r" \boxed{7", " }"]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), itertools.product(BEFORE, AFTER))
def test_the_last_box_counts_and_nothing_around_it(before: str, after: str) -> None:
    answer = before + r"\boxed{\frac{4}{2}}" + after
    assert verdict("2", answer) == {"right": True}
    assert verdict("7", answer) == {"right": False}


LISTS = [
    r"\boxed{1}, \boxed{2}", r"$\boxed{1}$ and $\boxed{2}$", r"\(x=\boxed{1}\) or \(x=\boxed{2}\)",
    r"No \boxed{9}, but \boxed{1}, and \boxed{2}", r"\boxed{1,2}",
]  # fmt: skip


@pytest.mark.parametrize("answer", LISTS)
def test_boxes_that_are_listed_are_one_answer(answer: str) -> None:
    assert verdict("1,2", answer) == {"right": True}
    assert verdict("2", answer) == verdict("1,2,9", answer) == {"right": False}


@pytest.mark.parametrize(("answer", "right"), [
    (r"$\boxed{10}$%", True), (r"\boxed{\boxed{0.1}}", True),
    (r"\boxed{\{0.1\}}", True), (r"\boxed 5 or 0.1", True), (r"It is 5, so 0.1", True),
    (r"so $0.1$", True), ("\\boxed{5}\n#### 0.1", True), (r"\boxed{\}0.1}", False),
])  # fmt: skip
def test_other_forms_are_read_as_before(answer: str, right: bool) -> None:
    assert verdict("0.1", answer) == {"right": right}


def test_a_gold_is_read_from_its_box_and_never_as_a_text() -> None:
    gold = r"So $\boxed{4}$; the final answer is $3$."
    assert verdict(gold, "4") == {"right": True} and verdict(gold, "3") == {"right": False}
    for text in (r"$\left($", r"\left(", r"$\frac{$", "?"):
        assert verdict(text, text) == {"reason": "gold_unparsable"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\boxed{7}, as \frac{1}{1}", "It is 7.0", True), ("1/2", r"$\frac12$", True),
        ("62.5%", "0.625", True), ("7", "8", False), ("none", "none", False),
        (r"\boxed{1} and \boxed{2}", r"\boxed{2}", False),
        (r"\boxed{1}, \boxed{2}", r"\boxed{1,2}", True),
    ],
)  # fmt: skip
def test_answers_are_alike_by_value(one: str, other: str, same: bool) -> None:
    assert alike(one, other) == alike(other, one) == {"same": same}
