"""The page of all suites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bvrank.bench.page import TITLES, page, write
from bvrank.bench.result import Cell, Result
from bvrank.bench.tables import APART, SPREAD, STOPPED, SUITES, tables
from bvrank.errors import DataError, RunError
from tests.bench.results import MACHINE, SETTINGS, arm, every, lists, memory, pairs, start
from tests.reports.html import checked

HOSTILE = ['"><script>alert(1)</script>', "</style></title><img src=x>", "' onload='alert(1)"]


def test_every_table_and_every_arm_is_on_the_page() -> None:
    shown = checked(page(every()))
    expected = [[list(t.heads), *map(list, t.lines)] for r in every() for t in tables(r)]
    assert shown.tables[1:] == expected
    text = shown.text()
    for result in every():
        assert TITLES[result.suite] in text
        for table in tables(result):
            assert all(note in text for note in table.notes)
        for name in (n for cell in result.cells for n in cell.arms if " " in n):
            assert name in shown.text("text", "span"), name


def test_every_suite_has_a_title_a_plot_and_a_section_in_one_order() -> None:
    assert list(TITLES) == list(SUITES)
    shown = checked(page(every()[::-1]))
    assert [a["id"] for tag, a in shown.tags if tag == "section"] == list(SUITES)
    assert sum(tag == "figure" for tag, _ in shown.tags) == len(SUITES)
    assert all("aria-label" in a for _, a in shown.tags if a.get("role") == "img")


def test_the_machine_stands_once_a_suite_and_no_folder_is_told() -> None:
    settings = {**SETTINGS, "pairs": {"path": "/home/me/secret/pairs.jsonl", "batch": 8},
                "lists": {"items": [5]}}  # fmt: skip
    other = replace(pairs(), settings=settings, machine={**MACHINE, "accelerator": "a card"})
    text = page([lists(), other])
    shown = checked(text)
    assert shown.tables[0] == [
        ["suite", *MACHINE, "accelerator"],
        ["lists", *map(str, MACHINE.values()), ""],
        ["pairs", *map(str, MACHINE.values()), "a card"],
    ]
    assert "secret" not in text and "/somewhere" not in text
    assert "pairs.jsonl" in shown.text("dd") and "true" in shown.text("dd")
    assert "items" not in shown.text("dt")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_out_as_text(text: str) -> None:
    settings = {"pairs": {text: text, "path": text}, "shape": {text: [text]}}
    found = pairs()
    arms = {f"bvrank {text}": arm(1, 1, 1), text: arm(2, 2, 2)}
    hostile = [
        replace(found, settings=settings, machine={**MACHINE, text: text},
                cells=(replace(found.cells[0], arms=arms),)),
        replace(start(), cells=(Cell({"command": text}, {text: arm(1)}),)),
    ]  # fmt: skip
    shown = checked(page(hostile))
    assert text in shown.text("td") and text in shown.text("dd")


def test_the_same_results_give_the_same_page_in_their_folder(tmp_path: Path) -> None:
    path = write(every(), tmp_path / "new")
    assert path == tmp_path / "new" / "index.html"
    first = path.read_bytes()
    write(every(), tmp_path / "new")
    assert path.read_bytes() == first and list(path.parent.iterdir()) == [path]


def test_a_page_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"index\.html: cannot be written .*out="):
        write([lists()], tmp_path / "file")
    with pytest.raises(DataError, match=r"lists\.json: holds no measurement"):
        write([Result("lists", {}, {}, lists().cells)], tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_what_the_tables_take_and_a_plot_does_not_is_told_in_one_line() -> None:
    found = memory()
    cells = tuple(replace(c, setting={**c.setting, "scored": float("nan")}) for c in found.cells)
    with pytest.raises(DataError, match=r"^memory\.json: holds no measurement"):
        page([replace(found, cells=cells)])


def test_arms_that_ran_one_after_another_are_not_told_as_side_by_side() -> None:
    card = {**MACHINE, "accelerator": "a card"}
    for result in (pairs(), pairs("views")):
        beside, (apart,) = tables(result), tables(replace(result, machine=card))
        assert SPREAD in beside[0].notes
        assert APART in apart.notes and not any("side by side" in n for n in apart.notes)
    assert any("each arm ran alone" in note for note in tables(memory())[0].notes)
    assert "on an accelerator those of pairs and views, run one after another" in checked(
        page([pairs()])
    ).text("p")


def test_a_result_that_was_stopped_says_so() -> None:
    assert STOPPED in checked(page([replace(lists(), whole=False)])).text("p")
    assert STOPPED not in page([lists()])


def test_one_setting_alone_can_be_drawn() -> None:
    for result in every():
        checked(page([replace(result, cells=result.cells[:1])]))
