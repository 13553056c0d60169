"""What a suite yields, written and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bvrank.bench.result import Arm, Result, loaded, machine
from bvrank.errors import DataError, RunError
from tests.bench.results import every, lists, pairs


def test_an_arm_is_told_by_its_median_and_compared_step_by_step() -> None:
    slow, fast = Arm((4.0, 8.0, 6.0)), Arm((2.0, 2.0, 1.0))
    assert slow.median == 6
    assert slow.over(fast) == (3.0, 2.0, 6.0)
    assert fast.over(fast) == (1.0, 1.0, 1.0)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    for result in every():
        path = result.save(tmp_path)
        assert path == tmp_path / f"{result.suite}.json"
        assert Result.load(path) == result
    assert {r.suite for r in loaded(tmp_path)} == {r.suite for r in every()}


def test_a_later_run_of_a_suite_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    lists().save(tmp_path)
    later = Result("lists", {}, {}, lists().cells[:1])
    later.save(tmp_path)
    assert loaded(tmp_path) == [later]


def test_a_stopped_run_takes_no_fuller_results_place(tmp_path: Path) -> None:
    full = lists()
    path, beside = tmp_path / "lists.json", tmp_path / "lists.partial.json"
    short, longer = (replace(full, cells=full.cells[:n], whole=False) for n in (1, 2))
    assert short.save(tmp_path) == path, "nothing was there"
    assert longer.save(tmp_path) == path and loaded(tmp_path) == [longer]
    assert short.save(tmp_path) == beside and loaded(tmp_path) == [longer]
    assert full.save(tmp_path) == path and not beside.exists()
    assert replace(full, whole=False).save(tmp_path) == beside
    assert loaded(tmp_path) == [full] and Result.load(beside).whole is False
    path.write_text("{")  # nothing that could be lost
    assert short.save(tmp_path) == path


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", '"text"', "\xff",
        json.dumps({"suite": "lists", "settings": {}, "machine": {}}),
        json.dumps({"suite": "lists", "settings": {}, "machine": {}, "cells": []}),
        json.dumps({"suite": "lists", "settings": {}, "machine": 3, "cells": [7]}),
        json.dumps({"cells": [{"prompt": 4, "seconds": {"forest": [1.0]}}]}),  # of version 0.1
        json.dumps({"name": "of another program"}),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_measurement_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="holds no measurement") as caught:
        Result.load(path)
    assert caught.value.where == str(path) and "Run that suite again" in str(caught.value)


@pytest.mark.parametrize("damage", [
    {"seconds": []}, {"seconds": ["soon"]}, {"peak": None}, {"peak": 1e999},
    {"above": float("nan")}, {"seconds": [1.0, float("nan"), 1.0]}, {"seconds": 3},
    {"seconds": [0, 1, 1]},
])  # fmt: skip
def test_an_arm_that_is_none_is_refused(damage: dict[str, object], tmp_path: Path) -> None:
    found = json.loads(pairs().save(tmp_path).read_text())
    found["cells"][0]["arms"]["bvrank micro 2"].update(damage)
    (tmp_path / "pairs.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match="holds no measurement"):
        Result.load(tmp_path / "pairs.json")


def test_a_file_under_another_suites_name_is_refused(tmp_path: Path) -> None:
    lists().save(tmp_path).rename(tmp_path / "old.json")
    with pytest.raises(
        DataError, match=r"old\.json: holds no measurement \(it is of suite 'lists'"
    ):
        loaded(tmp_path)


def test_an_empty_folder_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Measure first, for instance bvrank bench"):
        loaded(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Choose another folder with out="):
        lists().save(tmp_path / "file")


def test_the_machine_is_told_without_its_name() -> None:
    import platform

    told = machine(3, "cpu")
    assert told["threads"] == 3 and told["cores"] >= 1 and told["processor"]
    assert "accelerator" not in told
    assert platform.node() not in told.values()
