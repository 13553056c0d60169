import os

import pytest

from bvrank.errors import RunError
from bvrank.reports.collect import collect


def names(patterns):
    return [record.name for record in collect(patterns)]


@pytest.fixture
def runs(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return sorted([make_run(0).name, make_run(1).name, make_run(2, stop=3).name])


@pytest.mark.parametrize(
    "patterns",
    ["outputs/*", "outputs", ["outputs/*", "outputs"], "**/*", "./outputs/*-s[012]-*"],
)
def test_runs_are_found_once_and_sorted(runs, patterns):
    assert names(patterns) == runs


def test_one_folder(runs):
    assert names(f"outputs/{runs[1]}") == [runs[1]]
    assert names([f"outputs/{r}" for r in reversed(runs)]) == runs


def test_unfinished_ones_are_there_as_such(runs):
    assert sorted(r.status for r in collect("outputs/*")) == ["failed", "finished", "finished"]


def test_what_is_no_run_is_passed_over(runs, tmp_path):
    (tmp_path / "outputs" / "report").mkdir()
    (tmp_path / "outputs" / "notes.txt").touch()
    assert names("outputs/*") == runs


def test_folders_moved_aside_count_only_when_asked_for(runs, tmp_path):
    os.rename(tmp_path / "outputs" / runs[0], tmp_path / "outputs" / f"{runs[0]}.old-1")
    assert names("outputs/*") == runs[1:]
    assert names("outputs/*.old-*") == [f"{runs[0]}.old-1"]


def test_links_to_a_run_are_that_run(runs, tmp_path):
    (tmp_path / "outputs" / "link").symlink_to(tmp_path / "outputs" / runs[0])
    assert len(collect("outputs/*")) == 3


def test_names_with_glob_characters(make_run):
    path = make_run(0, name="a[1]")
    assert names(str(path)) == ["a[1]"]


@pytest.mark.parametrize("patterns", ["nothing/*", [], "", ["a", "b/*"]])
def test_nothing_matched(tmp_path, monkeypatch, patterns):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"runs: no run folder matches.*runs='outputs/\*'"):
        collect(patterns)


def test_a_torn_file_is_no_obstacle(runs, tmp_path):
    folder = tmp_path / "outputs" / runs[0]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step":')
    (folder / "summary.json").write_text("{")
    assert len(collect("outputs/*")[0].problems) == 2
