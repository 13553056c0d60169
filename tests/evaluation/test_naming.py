"""What a written list names: each form people and models write, and what is no candidate."""

from __future__ import annotations

from itertools import permutations

import pytest

from bvrank.evaluation.naming import Named, named

FILMS = ["Heat", "Heat 2", "The Good, the Bad and the Ugly", "Up", "M"]


@pytest.mark.parametrize(
    "form",
    ["{}", "- {}", "1. {}", "2) {}", "* **{}**", '"{}"', "{}.", "  {}  ", "(3) {}", "\u2022 {}"],
)
def test_every_usual_form_of_a_line(form: str) -> None:
    for order in list(permutations(range(5)))[::7]:
        text = "\n".join(form.format(FILMS[i]) for i in order)
        assert named(text, FILMS) == Named(order, 0, 0)
        assert named(text.upper(), FILMS) == Named(order, 0, 0)


@pytest.mark.parametrize("separator", [", ", "; ", " > ", " | ", " and ", ", then "])
def test_one_line_with_separators(separator: str) -> None:
    text = separator.join(FILMS[i] for i in (2, 1, 0, 4, 3))
    assert named(text, FILMS) == Named((2, 1, 0, 4, 3), 0, 0)


def test_the_longest_candidate_wins() -> None:
    assert named("Heat 2, Heat", FILMS).order == (1, 0)
    assert named("Upper, Up", FILMS) == Named((3,), 1, 0)  # part of a word is none


def test_invented_and_repeated_pieces_are_counted() -> None:
    text = "Here is my ranking:\n1. Up\n2. Alien\n3. up\n4. Heat, Jaws, M\n\n5. Heat"
    found = named(text, FILMS)
    assert found == Named((3, 0, 4), 2, 2) and found.mentions == 7


@pytest.mark.parametrize("text", ["", "\n \n", "Ranking:", "..."])
def test_nothing_is_nothing(text: str) -> None:
    assert named(text, FILMS) == Named((), 0, 0)


def test_what_is_not_named_shares_the_last_place() -> None:
    assert named("Up\nHeat", FILMS).scores(5) == [4.0, 0.0, 0.0, 5.0, 0.0]


def test_candidates_that_are_numbers_or_letters() -> None:
    assert named("1. 45\n2. 7", ["7", "45"]).order == (1, 0)
    assert named("B, A", ["A", "B"]).order == (1, 0)
    assert named("7\n45", ["7", "45"]).order == (0, 1)
    assert named("(a) x\n(b)", ["(a)", "(b)"]).order  # parentheses are no part of words


def test_signs_alone_are_compared_as_they_are() -> None:
    assert named("?\n!", ["!", "?"]).order == (1, 0)


SIGNS = ["Up", "Up!", "UP", "M"]


@pytest.mark.parametrize("form", ["{}", "1. {}", '- "{}"', "**{}**", "{}."])
def test_candidates_that_differ_by_a_sign_or_by_case_are_told_apart(form: str) -> None:
    for order in permutations(range(4)):
        text = "\n".join(form.format(SIGNS[i]) for i in order)
        assert named(text, SIGNS) == Named(order, 0, 0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 0, 3), (3, 1, 0, 2)])
def test_they_are_told_apart_on_one_line_too(order: tuple[int, ...]) -> None:
    assert named(", ".join(SIGNS[i] for i in order), SIGNS) == Named(order, 0, 0)


def test_what_could_be_two_candidates_is_none() -> None:
    assert named("uP\nm", SIGNS) == Named((3,), 1, 0)
    assert named("up!\nm", SIGNS) == Named((1, 3), 0, 0)
    assert named("Up?", ["Up", "Up!"]) == Named((), 1, 0)
    assert named("k\u0131t, b", ["kit", "Kit", "b"]).order == (2,)
    assert named("up. and UP!", ["Up", "Up!"]) == Named((0, 1), 0, 0)
