from bvrank.reports.grid import LONGEST, SHORT, scrolling
from tests.reports.html import Page


def test_cells_come_out_as_they_went_in():
    lines = [["a <b>", "1.5"], ["x\ny", "-"]]
    page = Page(scrolling(["run", "loss"], lines, {"loss"}))
    assert page.tables == [[["run", "loss"], ["a <b>", "1.5"], ["x y", "-"]]]
    looks = [a["class"] for t, a in page.tags if t in ("th", "td")]
    assert looks == ["short", "figure"] * 3


def test_long_cells_may_wrap_and_endless_ones_are_cut():
    page = Page(scrolling(["a", "b"], [["x" * (SHORT + 1), "y" * 5000]]))
    assert [a["class"] for t, a in page.tags if t == "td"] == ["long", "long"]
    assert page.tables[0][1][0] == "x" * (SHORT + 1)
    assert len(page.tables[0][1][1]) < LONGEST + 40


def test_the_box_scrolls_and_the_keyboard_reaches_it():
    assert scrolling(["a"], []).startswith('<div class="wide" tabindex="0"><table>')
