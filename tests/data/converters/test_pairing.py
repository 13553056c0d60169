from __future__ import annotations

from random import Random

import pytest

from bvrank.answers import split
from bvrank.data.converters.pairing import check_apart, drafted, picked, score, written
from bvrank.data.refusals import Unfit
from bvrank.records import Message

SCORED = [(1.0, "worst"), (5.0, "best"), (3.0, "mid"), (4.0, "near")]
ASKED = (Message("user", "Q"),)


def reason(call: object, *args: object) -> str:
    with pytest.raises(Unfit) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.reason


def test_the_best_stands_against_the_worst() -> None:
    assert picked(SCORED, "best_worst", 0.0, 0, "p") == ("best", "worst")


def test_the_best_stands_against_any_other_at_random() -> None:
    drawn = {picked(SCORED, "best_random", 0.0, 0, f"p{i}") for i in range(60)}
    assert drawn == {("best", "worst"), ("best", "mid"), ("best", "near")}
    assert {picked(SCORED, "best_random", 2.0, 0, f"p{i}")[1] for i in range(60)} == {
        "worst",
        "mid",
    }


def test_a_draw_depends_on_seed_and_prompt_and_on_no_order() -> None:
    for number in range(20):
        shuffled = list(SCORED)
        Random(number).shuffle(shuffled)
        for pick in ("best_worst", "best_random"):
            same = picked(SCORED, pick, 0.0, 3, f"p{number}")  # type: ignore[arg-type]
            assert picked(shuffled, pick, 0.0, 3, f"p{number}") == same  # type: ignore[arg-type]
    seeds = {picked(SCORED, "best_random", 0.0, seed, "p") for seed in range(30)}
    assert len(seeds) == 3


def test_ties_at_the_top_are_broken_by_content() -> None:
    tied = [(5.0, "a"), (5.0, "b"), (1.0, "c")]
    assert {picked(tied, "best_worst", 0.0, s, "p")[0] for s in range(20)} == {"a", "b"}


def test_responses_that_cannot_make_a_pair() -> None:
    for scored, gap, why in (
        ([(1.0, "a"), (1.0, "b")], 0.0, "nothing_to_prefer"),
        ([(1.0, "a"), (2.0, "b")], 1.5, "weak_preference"),
        ([(1.0, "a"), (1.0, "a")], 0.0, "too_few"),
    ):
        assert reason(picked, scored, "best_worst", gap, 0, "p") == why


def test_scores_that_stand_the_wrong_way_round() -> None:
    check_apart(None, None, 0.0)
    check_apart(2, "1", 1.0)
    for better, worse, why in (
        (1, 1, "nothing_to_prefer"), (1, 2, "bad_score"), (2, 1.5, "weak_preference"),
        (None, 1, "bad_score"), (float("nan"), 1, "bad_score"), (True, 0, "bad_score"),
    ):  # fmt: skip
        assert reason(check_apart, better, worse, 1.0) == why
    assert score("4.5", "x") == 4.5 and reason(score, "inf", "x") == "bad_score"


@pytest.mark.parametrize(
    "text", ["plain", "<think>\nwhy\n</think>\n\nso", "<think>\n\n</think>\n\nso"]
)
def test_a_response_is_read_again_as_it_was(text: str) -> None:
    row = drafted("a:1", ASKED, written(split(text)), "other").content
    assert row["prompt"] == "Q"
    found = row["chosen"]
    assert found == {"think": "why", "answer": "so"} if "why" in text else found == text


def test_a_prompt_of_several_turns_is_written_as_messages() -> None:
    talk = (Message("system", "s"), *ASKED)
    row = drafted("a:1", talk, "a", "b", "g").content
    assert row["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "Q"}]
    assert row["group"] == "g"
    odd = drafted("a:1", (Message("user", "\n\nHuman: x"),), "a", "b").content
    assert odd["prompt"] == [{"role": "user", "content": "\n\nHuman: x"}]


def test_rows_that_could_not_be_read_again_are_unfit() -> None:
    for sides, why in (
        (("a", "a"), "equal_sides"), (("", "a"), "empty_answer"), (("<think>x", "a"), "unfinished"),
    ):  # fmt: skip
        assert reason(drafted, "a:1", ASKED, *sides) == why
