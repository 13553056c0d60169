import json
import math
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.errors import RunError
from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.run.files import read_jsonl
from bvrank.tracking.jsonl import Jsonl
from bvrank.tracking.several import Several


def steps(folder):
    return [row["step"] for row in read_jsonl(folder / "metrics.jsonl")[0]]


def started(folder):
    tracker: Tracker = Jsonl()
    tracker.start({}, folder)
    return tracker


def test_one_flushed_strict_line_per_step(tmp_path):
    tracker = started(tmp_path)
    tracker.log(StepReport(1, {"loss": 0.5, "full/rewards/margins": math.nan}))
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": 0.5, "full/rewards/margins": "NaN"}\n'
    tracker.finish({})
    tracker.finish({})


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(tmp_path, capsys):
    tracker = Several([Jsonl()])
    tracker.start({}, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for step in range(1, 30):
        # A file may grow to 100 bytes at first, in the middle of a line; later there is no limit.
        resource.setrlimit(resource.RLIMIT_FSIZE, limits if step >= 20 else (100, limits[1]))
        tracker.log(StepReport(step, {"loss": 0.5}))
    tracker.finish({})
    assert steps(tmp_path) == list(range(1, 30))
    assert capsys.readouterr().err.count("File too large") == 1


@given(st.floats())
def test_numbers_come_back_to_the_last_bit(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("m")
    tracker = started(folder)
    tracker.log(StepReport(1, {"x": value}))
    tracker.finish({})
    (row,), _ = read_jsonl(folder / "metrics.jsonl")
    assert row["x"] == value or (math.isnan(value) and math.isnan(row["x"]))


def test_truncate_goes_back_to_a_step(tmp_path):
    tracker = started(tmp_path)
    for step in (1, 2, 3, 3, 4):
        tracker.log(StepReport(step, {}))
    tracker.finish({})
    resumed = started(tmp_path)
    assert resumed.truncate(2) == 3
    resumed.log(StepReport(3, {}))
    resumed.finish({})
    assert steps(tmp_path) == [1, 2, 3]


def test_truncate_to_nothing_and_of_nothing(tmp_path):
    tracker = started(tmp_path)
    assert tracker.truncate(0) == 0
    tracker.log(StepReport(1, {}))
    assert tracker.truncate(0) == 1
    tracker.finish({})
    assert steps(tmp_path) == []


def test_kept_lines_are_kept_to_the_byte(tmp_path):
    tracker = started(tmp_path)
    for step in (1, 2):
        tracker.log(StepReport(step, {"x": 0.1 + step, "é": -math.inf}))
    first = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    tracker.truncate(1)
    tracker.finish({})
    assert (tmp_path / "metrics.jsonl").read_bytes() == first


def test_a_torn_line_does_not_swallow_the_next(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    tracker = started(tmp_path)
    tracker.log(StepReport(2, {}))
    tracker.finish({})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_file_that_cannot_be_rewritten_is_an_error_of_the_run(tmp_path):
    several = Several([jsonl := Jsonl()])
    (tmp_path / "metrics.jsonl").mkdir()
    several.start({}, tmp_path)
    with pytest.raises(RunError, match="cannot be written"):
        jsonl.truncate(3)


def test_order_of_calls_is_enforced(tmp_path):
    with pytest.raises(RuntimeError):
        Jsonl().log(StepReport(1, {}))
    with pytest.raises(RuntimeError):
        Jsonl().truncate(1)
