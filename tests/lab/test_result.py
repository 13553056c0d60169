"""What is written is read again, and damage is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bvrank.errors import RunError
from bvrank.lab.result import ARRAYS, FIGURES, distance, key, read_result, write_result
from tests.lab.found import BROKEN, result


def test_there_and_back(tmp_path: Path) -> None:
    whole = result()
    write_result(tmp_path, whole)
    again = read_result(tmp_path)
    assert (again.settings, again.cells, again.training) == (
        whole.settings, whole.cells, whole.training,
    )  # fmt: skip
    assert again.checks == whole.checks and again.holds
    assert again.arrays.keys() == whole.arrays.keys()
    assert all(np.array_equal(again.arrays[k], v) for k, v in whole.arrays.items())


def test_a_check_that_is_not_a_number_survives_as_one_that_does_not_hold(tmp_path: Path) -> None:
    write_result(tmp_path, replace(result(), checks=[BROKEN], training=None))
    again = read_result(tmp_path)
    assert not again.holds and again.training is None
    assert str(again.checks[0].largest) == "nan"


@pytest.mark.parametrize("name", [FIGURES, ARRAYS])
def test_damage_is_an_error_with_a_repair(tmp_path: Path, name: str) -> None:
    write_result(tmp_path, result())
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(RunError, match="force=true measures again"):
        read_result(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError):
        read_result(tmp_path)


def test_two_distances_never_have_one_name() -> None:
    near = [{"world": 3, "distance": d} for d in (0, 0.1, 0.1 + 1e-9, 1 / 3, 1e-7)]
    assert [distance(c) for c in near[:2]] == ["0", "0.1"]
    assert len({key(c, "mse") for c in near}) == len(near)
    assert key(near[1], "mse") == "3/0.1/mse"
