from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.answers import CLOSE, OPEN, Response, join, split

text = st.text(st.sampled_from("ab \n\t<>/\\é")).filter(lambda t: OPEN not in t and CLOSE not in t)


@given(trace=text, answer=text)
def test_split_undoes_join(trace: str, answer: str) -> None:
    assert split(join(trace, answer)) == Response(trace, answer, True)


@given(trace=text, answer=text)
def test_a_prompt_that_opened_the_block_leaves_the_rest(trace: str, answer: str) -> None:
    rest = join(trace, answer).removeprefix(f"{OPEN}\n")
    opened = split(rest, opened=True)
    assert opened.answer == answer and opened.closed
    if not trace.lstrip().startswith(OPEN):
        assert opened.trace == trace


@given(st.text())
def test_no_answer_ever_holds_a_tag_and_none_is_open(told: str) -> None:
    for opened in (False, True):
        found = split(told, opened=opened)
        assert found.closed == (found.answer is not None)
        assert found.answer is None or (OPEN not in found.answer and CLOSE not in found.answer)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("4", Response(None, "4", True)),
        ("", Response(None, "", True)),
        ("<think>x</think>4", Response("x", "4", True)),
        ("<think>\n\n</think>\n\n4", Response("", "4", True)),
        ("<think></think>4", Response("", "4", True)),
        ("<think>\n</think>\n\n4", Response("", "4", True)),
        (" \n<think>\nx\n</think>\n\n4", Response("x", "4", True)),
        ("x\n</think>\n\n4", Response("x", "4", True)),
        ("<think>a</think>b<think>c</think>4", Response("a</think>b<think>c", "4", True)),
        ("Sure. <think>a</think>4", Response("Sure. <think>a", "4", True)),
        ("<think>\na</think>", Response("a", "", True)),
        ("<think>\nso 2+2", Response("so 2+2", None, False)),
        ("<think>a</think>4 <think>but", Response("a</think>4 <think>but", None, False)),
        ("Sure. <think>a", Response("Sure. <think>a", None, False)),
        ("<think>\n\n\nx\n\n</think>\n\n\n4", Response("\n\nx\n", "\n4", True)),
    ],
)
def test_completions(told: str, expected: Response) -> None:
    assert split(told) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("x\n</think>\n\n4", Response("x", "4", True)),
        ("<think>\nx\n</think>\n\n4", Response("x", "4", True)),
        ("so 2+2", Response("so 2+2", None, False)),
        ("", Response("", None, False)),
    ],
)
def test_completions_of_an_opened_prompt(told: str, expected: Response) -> None:
    assert split(told, opened=True) == expected
