import io

import pytest
from rich.console import Console

from bvrank.reports.collect import collect
from bvrank.reports.rows import FEW_KEYS
from bvrank.reports.spread import spread
from bvrank.reports.tables import cell, figure_name, grid, tables
from tests.reports.runs import DPO


@pytest.fixture
def records(tmp_path):
    return lambda: collect(str(tmp_path / "outputs"))


def shown(table, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(grid(table))
    return console.file.getvalue()


def test_three_tables_with_lines_per_mode_and_view(make_run, records):
    make_run(0)
    make_run(0, objective=DPO, views=("full",), gain=None)
    make_run(1, stop=3)
    accuracy, by_view, training = tables(records())
    assert [p for _, p in accuracy.lines] == ["thinking", "nothinking"]
    assert sorted(p for _, p in by_view.lines) == ["bare", "full", "full"]
    assert len(training.lines) == 3
    for table in (accuracy, by_view, training):
        assert all(len(cells) == len(table.header()) for cells in table.body())
    assert accuracy.header()[-1] == "seeds"
    assert training.header()[-1] == "status"


def test_without_accuracy_or_views_there_is_training_alone(make_run, records):
    make_run(0, views=(), gain=None)
    (training,) = tables(records())
    assert training.header() == ["run", "training loss", "held-out loss", "seconds", "n", "seeds"]


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


def test_many_settings_take_one_column_and_none_where_names_say_it_all(make_run, records):
    for n in range(2):
        make_run(0, **{f"key{k}": n + k for k in range(FEW_KEYS)})
    heads = tables(records())[-1].header()
    assert heads[:-5] == ["run", *(f"key{k}" for k in range(FEW_KEYS))]
    make_run(0, more=1, **{f"key{k}": k for k in range(FEW_KEYS)})
    table = tables(records())[-1]
    assert table.header()[:2] == ["run", "settings"]
    assert "key0=1, key1=2, key2=3" in [line[1] for line in table.body()]


def test_names_that_say_it_all_take_no_settings(make_run, records):
    make_run(0)
    make_run(0, objective=DPO, **{f"key{k}": k for k in range(FEW_KEYS + 1)})
    assert tables(records())[-1].header()[:2] == ["run", "training loss"]


def test_the_terminal_gets_no_escape_codes(make_run, records):
    make_run(0, note="\x1b[2J\x07")
    make_run(0, note="x")
    for table in tables(records()):
        text = shown(table)
        assert "\x1b" not in text and "\\x1b[2J" in text


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
