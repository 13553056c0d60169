import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bvrank.reports.collect import collect
from bvrank.reports.markdown import escape, markdown_table, page
from bvrank.reports.tables import tables
from tests.reports.runs import DPO

PARSER = MarkdownIt("commonmark").enable("table")
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)


def cells(markdown):
    """The text of each cell as a Markdown parser reads it."""
    tokens = PARSER.parse(markdown)
    inner = [
        t for t, before in zip(tokens[1:], tokens, strict=False) if before.type[:2] in ("th", "td")
    ]
    return ["".join(c.content for c in t.children) for t in inner if t.type == "inline"]


@given(st.lists(TEXT, min_size=2, max_size=2))
def test_any_text_survives_in_a_cell(row):
    told = cells(markdown_table(["a", "b"], [row]))
    flat = [" ".join(text.split()) for text in row]
    assert [" ".join(t.split()) for t in told] == ["a", "b", *flat]


def test_pipes_html_and_lines_are_escaped():
    text = escape("a|b <script>\nc & `d` *e* [f](g) $h$")
    assert text == "a\\|b &lt;script&gt; c &amp; \\`d\\` \\*e\\* \\[f\\](g) \\$h\\$"


def test_a_whole_page(make_run, tmp_path):
    make_run(0, objective=DPO, views=("full",))
    make_run(1, stop=3)
    records = collect(str(tmp_path / "outputs"))
    text = page(records, tables(records), [])
    assert text.startswith("# Report\n\n2 runs, 1 finished.")
    assert "## Training" in text
    assert "## Curves" not in text
    assert "out of &lt;memory&gt; \\| at \\`row\\` 7" in text
    assert "<memory>" not in text
    assert "| 98 | empty 1, long\\|er 1 |" in text
    assert re.search(r"```text\n.*: bvrank train seed=1\n", text)
    assert str(tmp_path) not in text


def test_commands_are_quoted_and_fenced(make_run, tmp_path):
    path = make_run(0) / "manifest.json"
    path.write_text(path.read_text().replace('"seed=0"', '"data.path=a ```` b"'))
    records = collect(str(tmp_path / "outputs"))
    text = page(records, tables(records), [])
    assert "bvrank train 'data.path=a ```` b'\n`````" in text


def test_runs_of_which_nothing_is_known(make_run, tmp_path):
    path = make_run(0)
    (path / "manifest.json").write_text("{}")
    records = collect(str(tmp_path / "outputs"))
    assert "| damaged | - | - | - | - | - | - | - |" in page(records, tables(records), [])
