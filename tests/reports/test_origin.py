import json

import yaml

from bvrank.reports.collect import collect
from bvrank.reports.origin import configurations, sources
from bvrank.reports.rows import rows_of
from tests.reports.html import Page
from tests.reports.runs import COMMON


def of(tmp_path):
    records = collect(str(tmp_path / "outputs"))
    return records, Page(configurations(rows_of(records)[0])), Page(sources(records))


def terms(page):
    """What stands under each term of the lists of details."""
    texts = [(tag, text) for tag, text in page.texts if tag in ("dt", "dd")]
    return dict(zip((t for _, t in texts[::2]), (t for _, t in texts[1::2]), strict=True))


def test_the_configuration_is_there_to_the_last_key(make_run, tmp_path):
    make_run(0, note={"deep": [1, {"x": None}]})
    _, page, _ = of(tmp_path)
    assert yaml.safe_load(page.text("pre")) == COMMON | {"note": {"deep": [1, {"x": None}]}}


def test_seeds_alone_are_no_difference(make_run, tmp_path):
    make_run(0)
    make_run(1, stop=2)
    _, page, _ = of(tmp_path)
    assert "No setting but the seed differs" in page.text("p") and page.tables == []


def test_where_a_run_comes_from(make_run, tmp_path):
    path = make_run(0) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest |= {
        "command": ["bvrank", "train", "data.path=my file.jsonl", "x='a'"],
        "git": {"commit": "0123456789abcdef", "dirty": True}, "started": "2026-01-31T12:00:00",
        "machine": {"system": "Linux", "processors": 8}, "versions": {"torch": "2.9"},
        "resumed": [{"at": "2026-02-01", "command": ["bvrank", "again"]}], "seconds": 1234.5,
        "rows_at_fault": ["pairs.jsonl:7"],
    }  # fmt: skip
    path.write_text(json.dumps(manifest))
    _, _, page = of(tmp_path)
    told = terms(page)
    assert told["command"] == """bvrank train 'data.path=my file.jsonl' 'x='"'"'a'"'"''"""
    assert told["git"] == "0123456789abcdef + changes"
    assert told["machine"] == "system Linux, processors 8"
    assert told["resumed"] == "2026-02-01 bvrank again"
    assert told["rows refused"] == "empty 1, long|er 1"
    assert told["rows at fault"] == "pairs.jsonl:7"
    line = dict(zip(*page.tables[0], strict=True))
    assert (line["commit"], line["torch"], line["seconds"]) == (
        "0123456789 + changes",
        "2.9",
        "1,234",
    )
    assert (line["rows kept"], line["data"]) == ("98", "0123456789ab")


def test_runs_of_which_nothing_is_known(make_run, tmp_path):
    (make_run(0) / "manifest.json").write_text("{}")
    _, _, page = of(tmp_path)
    assert page.tables[0][1][2:] == ["damaged", *["-"] * 7]
