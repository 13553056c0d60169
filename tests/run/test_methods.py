"""Which evaluations are of one method."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.run.methods import (
    address_of,
    apart,
    files_of,
    other_data,
    several,
    short,
    silent,
    telling,
)

BASE = {"seed": 0, "n": 4, "modes": ["thinking"], "precision": "fp32",
        "task": {"path": "a", "beta": 0.1, "run_file": "mine", "judge": {"path": "said"}},
        "data": {"task.path": "h", "task.run_file": "i", "task.judge.path": "k"}}  # fmt: skip


def changed(**keys: Any) -> dict[str, Any]:
    """BASE with other values: `task__beta=1` for task.beta, `data__task.path` for that."""
    found = {k: dict(v) if isinstance(v, dict) else v for k, v in BASE.items()}
    for key, value in keys.items():
        top, _, name = key.partition("__")
        if name:
            found[top][name] = value
        else:
            found[top] = value
    return found


@pytest.mark.parametrize(
    "same",
    [changed(seed=1), changed(task__run_file="b"), changed(**{"data__task.run_file": "z"}),
     changed(task__path="moved"), changed(n=4.0), changed(**{"data__task.judge.path": "z"})],
)  # fmt: skip
def test_seed_place_and_the_policys_own_answers_are_no_method(same: dict[str, Any]) -> None:
    assert apart(BASE, same) == [] and several([BASE, same]) is None


@pytest.mark.parametrize(
    ("other", "key", "data"),
    [(changed(task__beta=1.0), "task.beta", []), (changed(n=8), "n", []),
     (changed(precision="bf16"), "precision", []),
     (changed(**{"data__task.path": "z"}), "data.task.path", ["task.path"]),
     (changed(task__qrels="org/set"), "task.qrels", ["task.qrels"])],
)  # fmt: skip
def test_all_else_is(other: dict[str, Any], key: str, data: list[str]) -> None:
    found = apart(BASE, other)
    assert [k for k, _, _ in found] == [key] and other_data(found) == data
    assert several([BASE, BASE, other]) == found[0]


def test_files_are_known_by_name_and_content() -> None:
    """Unless a name stands for two contents, or two names for one."""
    assert files_of(BASE) == {"a": "h", "mine": "i", "said": "k"}
    assert files_of(changed(task__path="/some/where/b.jsonl"))["b.jsonl"] == "h"
    assert files_of(changed(task__path="x/mine")) == {"said": "k"}
    assert files_of(changed(**{"data__task.path": "i"})) == {"said": "k"}
    assert files_of({"seed": 0}) == {}


def test_an_old_result_tells_nothing_of_its_task() -> None:
    old = {"seed": 1, "n": 4, "modes": ["thinking"]}
    assert silent(old) and not silent(BASE)
    assert apart(old, BASE) == apart(BASE, old) == []
    assert [key for key, _, _ in apart(old | {"n": 5}, BASE)] == ["n"]
    other = changed(task__beta=1.0)
    assert several([old, BASE]) is None and several([old, BASE, other]) is not None
    assert telling([old, BASE, other]) is BASE and telling([old]) is old


def test_where_a_server_is_reached_is_no_method() -> None:
    one, other = (BASE | {"sampler": {"server": {"base_url": f"http://h:{p}/v1", "model": "m"}}}
                  for p in (1, 2))  # fmt: skip
    assert apart(one, other) == []
    assert address_of(one) == "http://h:1/v1" and address_of(BASE) == ""


def test_how_nothing_was_drawn_is_no_method() -> None:
    """Older results tell it of every task; a task that draws tells it always."""
    new = {key: value for key, value in BASE.items() if key not in ("n", "modes")}
    other = changed(n=8, modes=["nothinking"]) | {"sampler": {"temperature": 0.5}}
    assert apart(new, BASE) == apart(other, new) == []
    assert len(apart(BASE, other)) == 3 and several([BASE, other]) is not None
    assert telling([BASE, other, new]) is new and several([BASE, other, new]) is None
    beta = {**new, "task": {**new["task"], "beta": 1.0}}
    assert [key for key, _, _ in apart(BASE, beta)] == ["task.beta"]
    assert [key for key, _, _ in apart({"seed": 0, "n": 4}, {"seed": 0})] == ["n"]


def test_long_values_are_told_by_their_hash() -> None:
    assert short(0.5) == "0.5" and len(short("x" * 500)) == 9 and short("a\nb") != short("a\nc")
