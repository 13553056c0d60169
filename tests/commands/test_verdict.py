"""How the figures of an evaluation are told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bvrank.commands.verdict import figure, grid, power
from bvrank.evaluation.result import Measured, Result, write_result
from bvrank.statistics import Estimate, needed

TOLD = {"task": "t", "version": 1, "step": None, "model": "m", "settings": {}}


def result(folder: Path, name: str, values: list[float]) -> Result:
    cells = {str(i): v for i, v in enumerate(values)}
    return write_result(folder, Measured({name: cells}), TOLD)


def test_the_power_line_is_of_two_evaluations(tmp_path: Path) -> None:
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    (line,) = power(result(tmp_path, "thinking/avg@1", values))
    one = needed(values, 0.01)  # type: ignore[arg-type]
    assert one is not None
    assert "two independent evaluations" in line and f"{2 * one:,} prompts in each" in line
    assert "fewer" not in line


@pytest.mark.parametrize(
    ("name", "values"),
    [("kl", [0.1, 0.2]), ("unclosed", [0.0, 1.0]), ("tokens", [3.0, 4.0]), ("own", [0.1, 0.3]),
     ("f1", [10.0, 30.0]), ("acc", [1.0, 1.0])],
)  # fmt: skip
def test_what_has_no_points_to_gain_or_no_scatter_has_none(
    name: str, values: list[float], tmp_path: Path
) -> None:
    assert power(result(tmp_path, name, values)) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("acc", 0.5, "50.0 [40.0, 60.0]"), ("f1", 70.0, "70.0 [0.4, 0.6]"),
     ("word_perplexity", 7.25, "7.250 [0.400, 0.600]"),
     ("bits_per_byte", 0.8, "0.800 [0.400, 0.600]")],
)  # fmt: skip
def test_shares_alone_are_told_in_per_cent(name: str, value: float, said: str) -> None:
    """And their line is headed so, as in a report."""
    e = Estimate(value, 0.1, (0.4, 0.6), 3, 1)
    share = said.startswith("50")
    assert figure(e, share) == said
    heads, rows = grid(Result("t", 1, None, "m", {}, {name: e}, {}, {}, []))
    assert heads == ["value"] and rows[0] == [f"{name}, %" if share else name, said]


def test_a_line_has_one_scale() -> None:
    """In per cent where every mode's figure is a share; one that is not known is no hindrance."""
    share, number, none = (Estimate(v, 0.1, (0.4, 0.6), 3, 1) for v in (0.5, 60.0, math.nan))
    for pair, told in (((share, none), ["f1, %", "50.0 [40.0, 60.0]"]),
                       ((share, number), ["f1", "0.500 [0.400, 0.600]"])):  # fmt: skip
        figures = dict(zip(("x/f1", "y/f1"), pair, strict=True))
        _, rows = grid(Result("t", 1, None, "m", {}, figures, {}, {}, []))
        assert rows[0][:2] == told


def test_every_column_has_its_own_n() -> None:
    one, many = (Estimate(0.5, 0.1, (0.3, 0.7), n, 1) for n in (12, 1600))
    told = {"full/a": many, "bare/a": one, "bare/b": many}
    modes, rows = grid(Result("preference", 1, None, "m", {}, told, {}, {}, []))
    assert modes == ["full", "bare"] and rows[-1] == ["n", "1,600", "12 to 1,600"]
