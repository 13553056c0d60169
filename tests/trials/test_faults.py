"""Some rows of the fault table: the whole one is made by `make trials`."""

from __future__ import annotations

import pytest

from tests.trials import TABLES, Request
from tests.trials.__main__ import main
from tests.trials.bench import Bench, Row, damaged, told
from tests.trials.faults import faults, tried_once
from tests.trials.process import Done

HERE = (
    ("file size limit", "checkpoint"),
    ("SIGUSR1", "training"),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Request(tmp_path_factory.mktemp("bench")))


@pytest.mark.parametrize("name", HERE, ids=" ".join)
def test_a_fault_is_told_and_the_repaired_command_ends_alike(
    name: tuple[str, str], bench: Bench
) -> None:
    row = tried_once(bench, name, faults()[name])
    assert (row.wrong, row.end, row.skipped) == ("", "same", "")


def test_the_bench_is_whole(bench: Bench) -> None:
    assert damaged(bench.store) == []
    (entry, *_) = (bench.place("harmed").store / "pairs").iterdir()
    (entry / "pairs.jsonl").write_text("")
    assert damaged(bench.folder / "harmed" / "store") == [
        f"{entry}: pairs.jsonl is not what was written"
    ]


@pytest.mark.parametrize(
    ("err", "code", "wrong"),
    [
        ("error: x: full\n", 2, ""),
        ("error: x: full\n", 3, "exit code 3"),
        ("error: x: full\nerror: y\n", 2, "one clear line"),
        ("Traceback\nerror: x: full\n", 2, "one clear line"),
        ("error: x: empty\n", 2, "does not say"),
    ],
)
def test_what_is_not_told_well_is_wrong(err: str, code: int, wrong: str, bench: Bench) -> None:
    place = bench.place("told", warm=False)
    row = told(Row("a", "b"), place, Done(code, "", err), 2, "full")
    assert (wrong in row.wrong) if wrong else not row.wrong


def test_what_was_left_half_written_is_wrong(bench: Bench) -> None:
    place = bench.place("half-written", warm=False)
    (place.store / "models" / ".a.1-1.part").mkdir(parents=True)
    row = told(Row("a", "b"), place, Done(2, "", "error: full\n"), 2)
    assert row.wrong and ".a.1-1.part" in row.left


def test_an_unknown_table_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kil"]) == 2
    assert capsys.readouterr().err == f"error: no table 'kil'. Known: {', '.join(TABLES)}.\n"
