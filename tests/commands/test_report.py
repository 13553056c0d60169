import os
import re
import subprocess
import sys

import pytest

from bvrank.commands.report import main
from bvrank.errors import BvrankError, ConfigError, RunError
from bvrank.records import StepReport
from bvrank.run import open_run
from bvrank.tracking.jsonl import Jsonl
from tests.reports.html import checked


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Three runs of two configurations: two finished, one failed and torn."""
    monkeypatch.chdir(tmp_path)
    for name, seed, ends in (("a", 0, True), ("b", 1, True), ("c", 2, False)):
        with open_run(tmp_path / "outputs", name, {"seed": seed, "steps": 2}) as folder:
            tracker = Jsonl()
            tracker.start({}, folder.path)
            for step in (1, 2):
                tracker.log(
                    StepReport(step, {"loss": 0.5 + seed / step, "full/rewards/margins": 1})
                )
            tracker.finish({})
            if ends:
                folder.finish({"final": {"loss": 0.5 + seed / 2}})
            else:
                folder.fail(RuntimeError("x | <y>"))
                with folder.metrics_path.open("a") as file:
                    file.write('{"step": 3, ')
    return tmp_path / "outputs"


def report(runs="outputs/*", out="outputs/report"):
    return main({"runs": runs, "out": out})


def test_page_and_terminal(outputs, capsys):
    assert report() == 0
    printed = capsys.readouterr().out
    assert "0.750 ± 3.177" in printed  # 0.5 and 1.0: t(1) * 0.3536 / sqrt(2)
    assert "failed at step 2: RuntimeError: x | <y>" in printed
    assert "report: outputs/report/report.html" in printed
    assert os.listdir(outputs / "report") == ["report.html"]
    page = checked((outputs / "report" / "report.html").read_text(encoding="utf-8"))
    assert "c: metrics.jsonl: 1 unreadable line left out" in page.text("li")
    assert "0.750 ± 3.177 (sd 0.354)" in page.text("td")


def test_the_terminal_and_the_page_agree(outputs, capsys):
    report()
    printed = capsys.readouterr().out.splitlines()
    page = checked((outputs / "report" / "report.html").read_text(encoding="utf-8"))
    (shown,) = (table for table in page.tables if "n" in table[0])
    for row in shown:
        bare = " ".join(re.sub(r" \(sd [^)]*\)", "", " ".join(row)).split())
        assert any(bare == " ".join(line.split()) for line in printed), row


def test_messages_do_not_steer_the_terminal(outputs, capsys):
    path = outputs / "c" / "manifest.json"
    path.write_text(path.read_text().replace("x | <y>", "\\u001b[2J\\u202e"))
    report()
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\\x1b[2J\\u202e" in printed


def test_a_second_report_is_the_same(outputs):
    report()
    first = {p.name: p.read_bytes() for p in (outputs / "report").iterdir()}
    report()
    assert {p.name: p.read_bytes() for p in (outputs / "report").iterdir()} == first


def test_it_leaves_the_runs_alone(outputs):
    before = {p: p.read_bytes() for p in outputs.rglob("*") if p.is_file()}
    report(out="elsewhere")
    assert {p: p.read_bytes() for p in outputs.rglob("*") if p.is_file()} == before


def test_nothing_matched_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run folder matches 'outputs/\\*'"):
        report()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("runs", [None, 3, [1], {"a": 1}])
def test_patterns_of_a_wrong_kind(runs):
    with pytest.raises(ConfigError) as error:
        report(runs)
    assert error.value.where == "runs"


@pytest.mark.parametrize("out", [None, "", 3, "outputs/a"])
def test_folders_that_cannot_take_the_report(outputs, out):
    with pytest.raises(ConfigError) as error:
        report(out=out)
    assert error.value.where == "out"


def test_a_file_in_the_way(outputs):
    with pytest.raises(BvrankError, match="cannot be written"):
        report(out="outputs/a/config.yaml")


def test_no_torch(outputs):
    script = (
        "import sys; from bvrank.commands.report import main; "
        "main({'runs': 'outputs/*', 'out': 'r'}); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'hydra', 'transformers')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
