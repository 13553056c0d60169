import io
import math

import pytest
from rich.console import Console

from bvrank.reports.collect import collect
from bvrank.reports.spread import spread
from bvrank.reports.tables import cell, figure_name, grid, rows_of, tables
from tests.reports.runs import COMMON, DPO

BVPO = COMMON["objective"]


@pytest.fixture
def records(tmp_path):
    return lambda: collect(str(tmp_path / "outputs"))


def rows(records):
    return rows_of(records())[0]


def shown(table, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(grid(table))
    return console.file.getvalue()


def test_seeds_are_pooled(make_run, records):
    for seed, gain in enumerate((0.1, 0.2, 0.3)):
        make_run(seed, gain=gain)
    (row,) = rows(records)
    assert (row.name, row.n, row.seeds, row.keys) == ("bvpo-arithmetic", 3, "0-2", {})
    gain = row.figures["accuracy/thinking/avg@4/gain"]
    assert gain.mean == pytest.approx(0.2)
    assert gain.std == pytest.approx(0.1)
    assert gain.half == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)


def test_only_keys_that_differ_are_columns(make_run, records):
    for alpha in (1.0, 0.5, 10):
        make_run(0, objective={**BVPO, "alpha": alpha}, checkpoint={"every": 5 * alpha})
    keys = [row.keys for row in rows(records)]
    assert keys == [{"objective.alpha": a} for a in ("0.5", "1", "10")]  # by size, not by spelling


def test_keys_that_come_with_another_objective_are_no_columns(make_run, records):
    make_run(0)
    make_run(0, objective=DPO, views=("full",))
    found = rows(records)
    assert sorted(r.name for r in found) == ["bvpo-arithmetic", "dpo-arithmetic"]
    assert all(r.keys == {} for r in found)


def test_a_key_that_is_there_or_not_is_a_column(make_run, records):
    make_run(0)
    make_run(0, schedule={"alpha": [1, 0]})
    assert sorted(r.keys["schedule.alpha"] for r in rows(records)) == ["-", "[1, 0]"]


def test_unfinished_runs_are_rows_of_their_own(make_run, records):
    make_run(0)
    make_run(1, stop=7)
    done, failed = rows(records)
    assert (done.n, done.seeds, done.status) == (1, "0", "finished")
    assert (failed.n, failed.seeds, failed.figures) == (0, "1", {})
    assert failed.status.startswith("failed at step 7: RuntimeError: out of <memory>")
    assert failed.title.endswith("s1 (failed)")


def test_a_killed_run_is_told(make_run, records):
    path = make_run(0, stop=2) / "manifest.json"
    path.write_text(path.read_text().replace('"failed"', '"running"'))
    (path.parent / "lock").unlink()
    assert rows(records)[0].status.startswith("killed at step 2")


def test_the_same_seed_twice_counts_once_and_is_told(make_run, records):
    make_run(0)
    make_run(0, name="again")
    found, notes = rows_of(records())
    assert [r.n for r in found] == [1]
    assert any("same seed" in note for note in notes)


def test_a_run_without_a_config_is_like_no_other(make_run, records):
    for seed in (0, 1):
        (make_run(seed) / "config.yaml").unlink()
    found, notes = rows_of(records())
    assert [r.n for r in found] == [1, 1]
    assert sum("config.yaml is missing" in note for note in notes) == 2


@pytest.mark.parametrize(
    ("seeds", "text"), [([0, 1, 2, 5, 7, 8], "0-2, 5, 7-8"), ([3], "3"), ([10, 9], "9-10")]
)
def test_seeds_as_ranges(make_run, records, seeds, text):
    for seed in seeds:
        make_run(seed)
    assert rows(records)[0].seeds == text


def test_three_tables_with_lines_per_mode_and_view(make_run, records):
    make_run(0)
    make_run(0, objective=DPO, views=("full",), gain=None)
    make_run(1, stop=3)
    accuracy, by_view, training = tables(records())
    assert [p for _, p in accuracy.lines] == ["thinking", "nothinking", ""]
    assert sorted(p for _, p in by_view.lines) == ["", "bare", "full", "full"]
    assert len(training.lines) == 3
    for table in (accuracy, by_view, training):
        assert all(len(cells) == len(table.header()) for cells in table.body())
    assert accuracy.header()[-1] == "status"


def test_without_accuracy_or_views_there_is_training_alone(make_run, records):
    make_run(0, views=(), gain=None)
    (training,) = tables(records())
    assert training.header() == ["run", "n", "seeds", "training loss", "held-out loss", "seconds"]


def test_only_failed_runs_still_make_a_table(make_run, records):
    make_run(0, stop=1)
    (table,) = tables(records())
    assert table.header() == ["run", "n", "seeds", "status"]
    assert "failed at step 1" in shown(table)


def test_cells():
    assert cell("loss", None) == "-"
    assert cell("loss", spread([0.5])) == "0.500"
    assert cell("loss", spread([1, 2, 3, 4])) == "2.500 ± 2.054 (sd 1.291)"
    assert cell("loss", spread([1, 2, 3, 4]), sd=False) == "2.500 ± 2.054"
    gain = "accuracy/thinking/avg@4/gain"
    assert cell(gain, spread([0.1, 0.2])) == "+15.0 ± 63.5 (sd 7.1)"


def test_names_of_runs_without_views():
    assert figure_name("{part}/rewards/margins", "full") == "full/rewards/margins"
    assert figure_name("eval/{part}/rewards/margins", "") == "eval/rewards/margins"


@pytest.mark.parametrize("width", [20, 80, 200])
def test_the_terminal_takes_any_text(make_run, records, width):
    make_run(0, note="[red]a|b[/red]")
    make_run(0, note="[/x]")
    for table in tables(records()):
        assert shown(table, width)
    assert "[red]a|b[/red]" in shown(table)
