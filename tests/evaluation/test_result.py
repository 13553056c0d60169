"""Figures of cells, and a result that comes back as it was written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bvrank.errors import RunError
from bvrank.evaluation.metrics import bounds
from bvrank.evaluation.result import (
    RESULT,
    SAMPLES,
    Measured,
    read_result,
    write_result,
)
from bvrank.statistics import estimate

CELLS = {"thinking/avg@4": {"a": 0.25, "b": 1.0, "c": 0.5}, "thinking/tokens": {"a": 3.0}, "wr": {}}
TOLD = {"task": "t", "version": 2, "step": 5, "model": "m", "settings": {"seed": 0}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    measured = Measured(CELLS, ({"key": k} for k in "ab"), {"failed": 2}, ["So it is."])
    found = write_result(tmp_path, measured, TOLD, seed=3)
    assert found == read_result(tmp_path) or math.isnan(found.figures["thinking/tokens"].stderr)
    assert found.figures["thinking/avg@4"] == estimate(np.array([0.25, 1.0, 0.5]), 3, bounds=(0, 1))
    assert (found.task, found.version, found.step, found.model) == ("t", 2, 5, "m")
    assert found.cells["thinking/avg@4"] == CELLS["thinking/avg@4"]
    assert (found.counts, found.notes) == ({"failed": 2}, ["So it is."])
    assert [json.loads(x) for x in (tmp_path / SAMPLES).read_text().splitlines()] == [
        {"key": "a"}, {"key": "b"}
    ]  # fmt: skip


def test_what_is_not_known_is_null_and_comes_back_as_nan(tmp_path: Path) -> None:
    write_result(tmp_path, Measured(CELLS), TOLD)
    told = json.loads((tmp_path / RESULT).read_text())["figures"]["thinking/tokens"]
    assert told["stderr"] is None and told["interval"] == [None, None] and told["prompts"] == 1
    assert math.isnan(read_result(tmp_path).figures["thinking/tokens"].stderr)


def test_a_figure_that_is_no_mean_brings_its_interval(tmp_path: Path) -> None:
    measured = Measured({"lc": {"a": 0.1, "b": 0.3}}, intervals={"lc": (0.6, 0.1, 0.4, 0.8)})
    found = write_result(tmp_path, measured, TOLD).figures["lc"]
    assert (found.value, found.stderr, found.interval, found.prompts) == (0.6, 0.1, (0.4, 0.8), 2)


def test_how_many_prompts_would_show_a_point(tmp_path: Path) -> None:
    found = write_result(tmp_path, Measured(CELLS), TOLD)
    spread = np.std([0.25, 1.0, 0.5], ddof=1)
    assert found.power("thinking/avg@4") == math.ceil(2 * (2.801585 * spread / 0.01) ** 2)
    assert found.power("thinking/tokens") is None and found.power("nothing") is None


def test_all_wrong_is_no_certainty(tmp_path: Path) -> None:
    """0 of 30: up to 1 - 0.025^(1/30) of other problems may be solved."""
    wrong = {str(i): 0.0 for i in range(30)}
    measured = Measured({"thinking/avg@32": wrong, "mrr": {"a": 0.5, "b": 1.0}})
    found = write_result(tmp_path, measured, TOLD).figures
    assert found["thinking/avg@32"].interval == pytest.approx((0, 0.1157), abs=1e-4)
    assert found["mrr"].interval == (0, 1) == bounds("mrr")


def test_which_way_is_better_is_kept(tmp_path: Path) -> None:
    """Of a known metric, of one that its task tells, and of one of which nothing is known."""
    cells = {"a": 0.5, "b": 70.0}
    measured = Measured({n: cells for n in ("t/word_perplexity", "t/new", "t/odd", "t/f1")},
                        higher={"t/new": False})  # fmt: skip
    found = write_result(tmp_path, measured, TOLD)
    assert [found.better(n) for n in measured.cells] == [False, False, None, True]
    told = json.loads((tmp_path / RESULT).read_text())["figures"]
    other = write_result(tmp_path, Measured({"toxi/score": cells, "t/kl": cells},
                                            higher={"toxi/score": False}), TOLD)  # fmt: skip
    assert [other.better(n) for n in other.cells] == [False, False]  # the task, not the name
    assert not any(figure["share"] for figure in told.values())


@pytest.mark.parametrize("text", [None, "{", "[]", '{"task": "t"}'])
def test_what_is_no_result_is_told(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / RESULT).write_text(text)
    with pytest.raises(RunError, match=r"has no result|cannot be read"):
        read_result(tmp_path)
