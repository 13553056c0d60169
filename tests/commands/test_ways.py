"""Ways in which one arm was measured: what chooses one of them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import idle
from bvrank.commands.compose import composed, frozen
from bvrank.commands.ways import Found, check_one_way, filter_of, kept, lost, wanted
from bvrank.errors import ConfigError, RunError
from bvrank.run.methods import DRAWN
from tests.evaluation.test_comparison import result


def found(name: str, **settings: Any) -> Found:
    told = {"seed": 0, "n": 4, "task": {"a": 1}, **settings}
    return Path(name), result({"x": [0.0, 1.0]}, settings=told)


def read(words: str) -> dict[str, Any]:
    """What the command takes the words for."""
    config = frozen(composed("report", ["compare=[a,b]", *shlex.split(words)]))
    where: dict[str, Any] = config["where"]
    return where


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (4, 8), (0.5, 0.6), (True, False), (1, True), (None, 3), ("a", "b"), ("null", None),
        ("3", 3), ("0012", "12"), ("1e5", "100000.0"), ("a b", "ab"), ("it's", "its"),
        (["thinking"], ["thinking", "nothinking"]), ("a,b", "a"), ("", "x"),
    ],
)  # fmt: skip
def test_the_words_for_a_way_keep_it_alone(one: Any, other: Any) -> None:
    """Read back from a shell by Hydra, whatever the value looks like."""
    every = [found("a", n=one), found("b", n=other), found("c", n=one, seed=1)]
    ways = [[every[0], every[2]], [every[1]]]
    for way in ways:
        asked = wanted(read(filter_of(way, ways)), every)
        assert kept("arm", every, asked) == way


def test_seeds_and_policies_are_one_way_and_nothing_is_said() -> None:
    check_one_way("arm", "t", [found("a"), found("b", seed=3)])


def test_an_error_has_the_folders_and_the_words_of_each_way() -> None:
    every = [found("a"), found("b", n=8), found("c", n=8, seed=1), found("d", n=8, seed=2)]
    with pytest.raises(RunError) as stop:
        check_one_way("arm", "t", every)
    assert str(stop.value) == (
        "arm: t was measured in several ways: n is 4 and 8. Choose one: where.n=4 (a), "
        "where.n=8 (b, c and 1 more)."
    )


def test_evaluations_that_drew_nothing_are_one_way_however_they_tell_it() -> None:
    plain = {"seed": 0, "task": {"a": 1}}
    old = [found("a", n=4, modes=["thinking"]), found("b", n=8, modes=["thinking"])]
    every = [*old, (Path("c"), result({"x": [0.0, 1.0]}, settings=plain))]
    check_one_way("arm", "t", every)
    with pytest.raises(RunError, match=r"Choose one: where.task.a=1 \(c, a and 1 more\), "
                       r"where.task.a=2 \(d\)"):  # fmt: skip
        check_one_way("arm", "t", [*every, found("d", modes=["thinking"], task={"a": 2})])
    assert {*DRAWN} == {*idle.DRAWN}


def test_where_one_setting_is_not_enough_several_are_told() -> None:
    every = [found("a"), found("b", n=8), found("c", limit=5), found("d", n=8, limit=5)]
    ways = [[one] for one in every]
    words = [filter_of(way, ways) for way in ways]
    assert words[3] == "where.limit=5 where.n=8"
    for one, word in zip(every, words, strict=True):
        assert kept("arm", every, wanted(read(word), every)) == [one]


def of(which: str, name: str, **settings: Any) -> Found:
    return Path(name), replace(found(name, **settings)[1], task=which)


def test_a_key_concerns_the_tasks_that_have_it() -> None:
    """So that two tasks of several ways are compared at once; what is left without any is told."""
    four, eight = of("t", "a"), of("t", "b", n=8)
    one, two = (of("u", str(n), task={"decoder": n}) for n in (1, 2))
    every = [four, eight, one, two]
    assert kept("arm", every, {"task.decoder": 2}) == [four, eight, two]
    assert kept("arm", every, {"task.decoder": 2, "task.a": 1}) == [four, eight, two]
    left = kept("arm", every, {"n": 8})
    assert left == [eight] and lost("arm", every, left, {"n": 8, "task.a": 1}) == [
        "u: left out, as no evaluation has n=8 (arm)"
    ]
    with pytest.raises(RunError, match=r"arm: no evaluation has task.decoder=1: .* is None"):
        kept("arm", [four], {"task.decoder": 1}, [of("t", "z", task={"decoder": 1})])


def test_a_key_that_nothing_has_names_those_there_are() -> None:
    every = [found("a", task={"decoder": "generate"})]
    with pytest.raises(ConfigError, match=r"where.zz: .* Known: n, seed, task.decoder\.$"):
        wanted({"zz": 3}, every)
    with pytest.raises(ConfigError, match=r"Did you mean 'task.decoder'\?$"):
        wanted({"decoder": "generate"}, every)
    assert wanted({"task": {"decoder": "x"}}, every) == {"task.decoder": "x"}


def test_what_is_not_there_is_null_and_what_fits_nothing_is_told() -> None:
    every = [found("a"), found("b", limit=5)]
    assert kept("arm", every, {"limit": None}) == every[:1]
    with pytest.raises(RunError, match=r"arm: no evaluation has limit=7: limit is None and 5"):
        kept("arm", every, {"limit": 7})
    with pytest.raises(RunError, match=r"limit=5 and seed=1: seed is 0"):
        kept("arm", every, {"limit": 5, "seed": 1})
    with pytest.raises(RunError, match="none has all of them together"):
        kept("arm", [*every, found("c", seed=1)], {"limit": 5, "seed": 1})
