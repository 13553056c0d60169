from __future__ import annotations

from typing import Any

import pytest

from bvrank.answers import Response
from bvrank.data.refusals import Unfit
from bvrank.data.sides import Columns, detect, read_pair
from bvrank.errors import DataError
from bvrank.records import Message

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
B, S = {"role": "assistant", "content": "b"}, {"role": "system", "content": "s"}
QUESTION = (Message("user", "q"),)
TEXTS = [[Response(None, "a", True)], [Response(None, "b", True)]]
HH = "\n\nHuman: q\n\nAssistant:"


def read(row: dict[str, Any], system: str | None = None) -> tuple[Any, list[list[Response]]]:
    columns = Columns(system=system)
    return read_pair(row, detect(columns, row, "f"), columns)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [Q], "chosen": "a", "rejected": "b"},
        {"prompt": [Q], "chosen": [A], "rejected": [B]},
        {"prompt": "q", "chosen": [A], "rejected": [B]},
        {"prompt": "q", "chosen": A, "rejected": B},
        {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]},  # UltraFeedback, binarised
        {"chosen": [Q, A], "rejected": [Q, B]},  # TRL, implicit prompt
        {"prompt": "q", "chosen": {"think": None, "answer": "a"}, "rejected": {"answer": "b"}},
        {"prompt": "q", "chosen": {"think": "", "answer": "a"}, "rejected": "b"},
        {"instruction": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "input": "", "output": "o", "chosen": "a", "rejected": "b"},
        {"chosen": HH + " a", "rejected": HH + " b"},
        {"prompt": HH, "chosen": "a", "rejected": "b"},
        {
            "prompt": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
    ],
)
def test_one_pair_in_the_forms_people_have(row: dict[str, Any]) -> None:
    assert read(row) == (QUESTION, TEXTS)


def test_what_stands_inside_the_sides_may_say_more_than_the_prompt_column() -> None:
    prompt, both = read({"prompt": "q", "chosen": [S, Q, A], "rejected": [S, Q, B]})
    assert prompt == (Message("system", "s"), *QUESTION) and both == TEXTS
    prompt, _ = read({"prompt": [Q], "chosen": [Q, A, Q, A], "rejected": [Q, A, Q, B]})
    assert [m.role for m in prompt] == ["user", "assistant", "user"]


def test_input_and_system_columns_join_the_prompt() -> None:
    row = {"instruction": "do", "input": "x", "chosen": "a", "rejected": "b", "sys": "s"}
    assert read(row, "sys")[0] == (Message("system", "s"), Message("user", "do\n\nx"))
    assert read({**row, "sys": None}, "sys")[0] == (Message("user", "do\n\nx"),)


@pytest.mark.parametrize(
    "side",
    [
        "<think>\nt\n</think>\n\na",
        "<think>t</think>a",
        {"think": "t", "answer": "a"},
        {"reasoning": "t", "answer": "a"},
        [{"role": "assistant", "content": "a", "reasoning_content": "t"}],
        [{"role": "assistant", "content": "<think>\nt\n</think>\n\na"}],
    ],
)
def test_traces_in_the_forms_people_have(side: Any) -> None:
    _, both = read({"prompt": "q", "chosen": side, "rejected": "b"})
    assert both[0] == [Response("t", "a", True)]


@pytest.mark.parametrize(
    ("side", "traces"),
    [
        (["<think>\nt\n</think>\n\na", "<think>u</think>a"], ["t", "u"]),
        ([{"think": "t", "answer": "a"}, {"think": "u", "answer": "a"}], ["t", "u"]),
        ([{"think": "t", "answer": "a"}, "a", {"answer": "a"}], ["t", None, None]),
        (["a"], [None]),
    ],
)
def test_a_side_may_hold_several_responses(side: Any, traces: list[str | None]) -> None:
    _, both = read({"prompt": "q", "chosen": side, "rejected": "b"})
    assert both == [[Response(t, "a", True) for t in traces], TEXTS[1]]
    _, both = read({"prompt": "q", "chosen": "a", "rejected": ["b", "c"]})
    assert [r.answer for r in both[1]] == ["b", "c"]


def test_a_prompt_inside_each_of_several_responses_is_one_prompt() -> None:
    prompt, both = read({"chosen": [HH + " a", HH + " c"], "rejected": HH + " b"})
    assert prompt == QUESTION and [r.answer for r in both[0]] == ["a", "c"]
    with pytest.raises(Unfit, match="the prompts inside 'chosen' differ"):
        read({"chosen": [HH + " a", HH.replace("q", "r") + " c"], "rejected": HH + " b"})
    with pytest.raises(Unfit, match=r"'chosen\[1\]' has no final answer"):
        read({"prompt": "q", "chosen": ["a", "<think>t</think>"], "rejected": "b"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": None}, "missing"),
        ({"rejected": None}, "missing"),
        ({"prompt": None}, "missing"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": "  "}, "empty_prompt"),
        ({"prompt": []}, "missing"),
        ({"prompt": 4}, "wrong_type"),
        ({"prompt": [A]}, "prompt_end"),
        ({"chosen": 4}, "wrong_type"),
        ({"chosen": True}, "wrong_type"),
        ({"chosen": float("nan")}, "wrong_type"),
        ({"chosen": {}}, "wrong_type"),
        ({"chosen": {"think": 3, "answer": "a"}}, "wrong_type"),
        ({"chosen": {"think": "t", "answer": None}}, "missing"),
        ({"chosen": [Q]}, "wrong_type"),
        ({"chosen": []}, "missing"),
        ({"chosen": ["a", 4]}, "wrong_type"),
        ({"chosen": ["a", A]}, "wrong_type"),
        ({"chosen": ["a", ["b"]]}, "wrong_type"),
        ({"chosen": ""}, "empty_answer"),
        ({"chosen": " \n"}, "empty_answer"),
        ({"chosen": {"think": "t", "answer": ""}}, "empty_answer"),
        ({"chosen": "<think>\nt\n</think>\n\n"}, "empty_answer"),
        ({"chosen": "<think>\nt"}, "unfinished"),
        ({"chosen": [{"role": "user", "content": "other"}, A]}, "prompt_mismatch"),
        ({"chosen": [S, Q, A]}, "prompt_mismatch"),
        ({"chosen": "\ud800"}, "bad_text"),
    ],
)
def test_a_row_that_does_not_fit(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        read({"prompt": "q", "chosen": "a", "rejected": "b", **change})
    assert caught.value.reason == reason and caught.value.detail


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "a", "rejected": "b"}, "no_prompt"),
        ({"chosen": [A], "rejected": [B]}, "no_prompt"),
        ({"chosen": HH + " a", "rejected": HH.replace("q", "r") + " b"}, "prompt_mismatch"),
        ({"chosen": HH + " a", "rejected": HH + " b" + HH + " c"}, "prompt_mismatch"),
        ({"chosen": HH, "rejected": HH + " b"}, "empty_answer"),
    ],
)
def test_an_implicit_prompt_that_is_none(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        read(row)
    assert caught.value.reason == reason


def test_the_bare_columns_stand_beside_the_others() -> None:
    assert Columns(chosen="good").bare == Columns(chosen="good_bare", rejected="rejected_bare")


def test_a_file_without_the_columns_is_an_error() -> None:
    for columns, seen in ((Columns(), ["prompt", "chosen"]), (Columns(system="s"), ["chosen"])):
        with pytest.raises(DataError, match="Known forms"):
            detect(columns, seen, "f")
