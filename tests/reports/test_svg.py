import math
import re

import pytest

from bvrank.reports.curves import Facet, Line, Panel
from bvrank.reports.rows import Row
from bvrank.reports.svg import BUSY, COLOURS, HEIGHT, MARKERS, WIDTH, drawn
from bvrank.run import RunRecord
from tests.reports.html import Page

LOSS = Panel("loss", "Loss", "loss (nats)", (Facet("training", (Line("loss"),)),))


def run(values, **more):
    steps = enumerate(values, start=1)
    metrics = tuple({"step": s, "loss": v, **more} for s, v in steps)
    return RunRecord(None, "finished", {}, {}, metrics, {})


def row(*runs, name="run", status="finished"):
    return Row(name, {}, tuple(runs), {}, status)


def paths(shown, look):
    page = Page(shown)
    return [a["d"] for t, a in page.tags if t == "path" and look in a["class"].split()]


def numbers(path):
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", path)]


def test_a_line_per_row_and_a_band_over_seeds():
    rows = {0: row(run([1.0, 2.0])), 1: row(run([1.0, 1.0]), run([3.0, 2.0]))}
    shown = drawn(LOSS, rows)
    curves = [d for d in paths(shown, "line") if d != "M1,7H29"]
    assert len(curves) == 2
    bands = [d for d in paths(shown, "band") if d.endswith("Z") and d != "M1,2H29V12H1Z"]
    assert len(bands) == 1 and len(numbers(bands[0])) == 8
    assert len([d for d in paths(shown, "seed") if d != "M1,7H29"]) == 2
    assert "± 1 sd over seeds" in shown and "(2 seeds)" in shown and "one seed" in shown


def test_seeds_are_drawn_apart_only_while_they_can_be_told_apart():
    few, many = row(*map(run, [[1.0, 2.0]] * 4)), row(*map(run, [[1.0, 2.0]] * 5))
    assert paths(drawn(LOSS, {0: few}), "seed")
    assert not paths(drawn(LOSS, {0: many}), "seed")
    assert not paths(drawn(LOSS, dict.fromkeys(range(BUSY + 1), few)), "seed")


def test_everything_within_reach_lies_inside_the_picture():
    shown = drawn(LOSS, {0: row(run([math.sin(k) for k in range(90)]))})
    for path in paths(shown, "line"):
        pairs = numbers(path)
        assert all(0 <= x <= WIDTH for x in pairs[::2])
        assert all(0 <= y <= HEIGHT for y in pairs[1::2])


def test_higher_values_are_drawn_higher_and_gaps_stay_gaps():
    (line, *_) = paths(drawn(LOSS, {0: row(run([1.0, math.nan, 2.0, 3.0]))}), "line")
    assert line.count("M") == 2
    places = numbers(line)
    assert places[1] > places[3] > places[5]


def test_wild_values_are_cut_off_and_told():
    values = [1 + 0.1 * math.sin(k) for k in range(100)]
    shown = drawn(LOSS, {0: row(run([*values, 12345.0]))})
    assert "beyond the axis: 1 of 101, to 1.23e+04" in shown
    assert "beyond" not in drawn(LOSS, {0: row(run(values))})


def test_every_row_looks_unlike_the_others():
    count = COLOURS * len(MARKERS)
    shown = drawn(LOSS, {n: row(run([1.0] * 20), name=f"r{n}") for n in range(count)})
    keys = re.findall(r'<svg viewBox="0 0 30 14"[^>]*>(.*?)</svg>', shown)
    assert len(keys) == len(set(keys)) == count


def test_rows_keep_their_colour_when_others_are_left_out():
    shown = drawn(LOSS, {3: row(run([1.0, 2.0]), name="mine"), 4: row(run([]), name="empty")})
    assert "line c3" in shown and "mine" in shown and "empty" not in shown


def test_a_facet_without_a_figure_is_left_out():
    panel = Panel("loss", "Loss", "x", (*LOSS.facets, Facet("held out", (Line("eval/loss"),))))
    assert "held out" not in drawn(panel, {0: row(run([1.0]))})


def test_a_long_title_is_cut_and_escaped():
    shown = drawn(LOSS, {0: row(run([1.0]), name="<b>" + "x" * 900)})
    assert "<b>x" not in shown and "x" * 400 not in shown and "&lt;b&gt;" in shown


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [math.nan], [1e308, -1e308], [5e-324] * 9])
def test_strange_curves(values):
    assert "NaN" not in drawn(LOSS, {0: row(run(values), run(values))}).replace("nan", "NaN")


def test_dashes_and_reference_line():
    lines = (Line("loss", "chosen", 0), Line("other", "rejected", 1))
    panel = Panel("logps", "Moved", "nats", (Facet("", lines),), 0.0)
    shown = drawn(panel, {0: row(run([-1.0, 1.0], other=0.5))})
    assert len(paths(shown, "reference")) == 1 and len(paths(shown, "d1")) == 2
    assert "chosen" in shown and "rejected" in shown
