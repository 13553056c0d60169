import json
import math
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.run import files
from bvrank.run.files import from_json, read_jsonl, to_json, write_atomic

KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from bvrank.run import files
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], die)
files.write_atomic(Path(sys.argv[1]), "new" * 100_000)
"""

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES.filter(lambda v: v not in ("NaN", "Infinity", "-Infinity")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def same(a, b):
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


@given(VALUES)
def test_json_is_strict_and_comes_back_the_same(value):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = to_json(value)
    json.loads(text, parse_constant=refuse)
    assert same(from_json(text), value)


def test_non_finite_numbers_are_strings_that_float_reads():
    text = to_json({"a": math.nan, "b": math.inf, "c": -math.inf})
    assert text == '{"a": "NaN", "b": "Infinity", "c": "-Infinity"}'
    assert [float(v) for v in json.loads(text).values()][1:] == [math.inf, -math.inf]


def test_numbers_of_array_libraries_are_numbers():
    np = pytest.importorskip("numpy")
    assert to_json([np.float32(0.5), np.array(2.0), np.int64(3)]) == "[0.5, 2.0, 3]"


def test_write_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, b"new \xc3\xa9")
    assert path.read_text("utf-8") == "new é"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "a.json"
    path.write_text("old")
    died = subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(path), moment])
    assert died.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_lines_are_read_around_the_broken_ones(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n\n{"st\n[1]\n\xff\xfe\n{"step": 2}\n{"step": 3}')
    assert read_jsonl(path) == ([{"step": 1}, {"step": 2}], 4)
    assert read_jsonl(tmp_path / "absent") == ([], 0)
