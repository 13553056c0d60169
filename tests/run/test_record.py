import math

import pytest

from bvrank.errors import RunError
from bvrank.records import StepReport
from bvrank.run.opening import open_run
from bvrank.run.record import is_run, read_run
from bvrank.tracking.jsonl import Jsonl


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path, "r", {"seed": 4}) as folder:
        tracker = Jsonl()
        tracker.start({}, folder.path)
        for step in (1, 2):
            tracker.log(StepReport(step, {"loss": 0.5 / step, "odd": math.inf}))
        tracker.finish({})
        folder.finish({"final": {"loss": 0.25}})
    return folder.path


def test_what_was_written_is_read(run):
    record = read_run(run)
    assert (record.name, record.status, record.seed, record.message) == ("r", "finished", 4, "")
    assert record.metrics[1] == {"step": 2, "loss": 0.25, "odd": math.inf}
    assert record.summary == {"final": {"loss": 0.25}}
    assert record.problems == ()


def test_a_torn_last_line_is_left_out_and_told(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    record = read_run(run)
    assert [m["step"] for m in record.metrics] == [1, 2]
    assert record.problems == ("metrics.jsonl: 1 unreadable line left out",)


def test_lines_nested_without_end_are_left_out(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": ' + "[" * 100_000 + "\n")
    assert read_run(run).problems == ("metrics.jsonl: 1 unreadable line left out",)


def test_steps_that_are_none_and_examples(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"loss": 1}\n{"step": true}\n{"step": -1}\n{"step": 1' + 400 * "0" + "}\n")
    (run / "examples.jsonl").write_text('{"prompt": "p"}\n{"prom')
    record = read_run(run)
    assert [m["step"] for m in record.metrics] == [1, 2]
    assert record.examples == ({"prompt": "p"},)
    assert record.problems == (
        "metrics.jsonl: 4 unreadable lines left out", "examples.jsonl: 1 unreadable line left out",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "summary.json"])
@pytest.mark.parametrize("content", [None, "{", "- 1\n", "\x00", '{"a":' * 5000, "&a {x: *a}"])
def test_missing_and_broken_parts_are_told(run, name, content):
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    (problem,) = (p for p in read_run(run).problems if p.startswith(name))
    assert problem
    if name == "manifest.json":
        assert read_run(run).status == "damaged"


def test_a_run_that_wrote_nothing_yet(tmp_path):
    with open_run(tmp_path, "r", {"seed": 4}) as folder:
        record = read_run(folder.path)
        assert (record.status, record.metrics, record.summary) == ("running", (), {})
        assert record.problems == ()


def test_other_folders_are_no_runs(tmp_path):
    assert not is_run(tmp_path)
    with pytest.raises(RunError, match="not a run folder"):
        read_run(tmp_path)
