from __future__ import annotations

import gzip
import json
import math
import os
import socket
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.files import read_rows
from bvrank.errors import DataError

ROWS = [{"a": 'x\u2028y, "z"', "b": "1"}, {"a": "ü\nnew", "b": "2"}]
LINES = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return path


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


FORMS = {
    "jsonl": LINES,
    "ndjson": "\n" + LINES.replace("\n", "\n\n"),
    "json": json.dumps(ROWS, indent=2),
    "csv": 'a,b\n"x\u2028y, ""z""",1\n"ü\nnew",2\n',
    "tsv": 'a\tb\n"x\u2028y, ""z"""\t1\n"ü\nnew"\t2\n',
    "parquet": parquet(),
}


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("kind", FORMS)
def test_every_form_gives_the_same_rows(tmp_path: Path, kind: str, end: str) -> None:
    path = write(tmp_path, f"d.{kind}{end}", FORMS[kind])
    assert [row for _, row in read_rows(path)] == ROWS


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [("jsonl", [1, 2]), ("ndjson", [2, 4]), ("json", [1, 2]), ("csv", [2, 3]), ("parquet", [1, 2])],
)
def test_a_row_comes_with_its_line_or_number(
    tmp_path: Path, kind: str, addresses: list[int]
) -> None:
    path = write(tmp_path, f"d.{kind}", FORMS[kind])
    assert [w for w, _ in read_rows(path)] == [f"d.{kind}:{n}" for n in addresses]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.json", LINES),  # lines under the name of an array
        ("d.jsonl", json.dumps(ROWS, indent=1)),  # an array under the name of lines
        ("d", LINES),
        ("d.txt", json.dumps(ROWS)),
        ("d.json", json.dumps({"version": 1, "data": ROWS})),
        ("d.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("d.csv", b"\xef\xbb\xbf" + str(FORMS["csv"]).encode()),
        ("d.jsonl", gzip.compress(LINES.encode(), mtime=0)),  # gzip without .gz
        ("d.bin", parquet()),
    ],
)
def test_the_bytes_win_over_the_name(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert [row for _, row in read_rows(path)] == ROWS


CUT = gzip.compress("".join(json.dumps({"a": i**5}) + "\n" for i in range(4000)).encode(), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "where", "told"),
    [
        ("d.jsonl", '{"a": 1}\n{"a": \n', "d.jsonl:2", "no valid JSON"),
        ("d.jsonl", '{"a": 1}\n[1]\n', "d.jsonl:2", "a list where an object is needed"),
        ("d.jsonl", "[1]\n[2]\n", "d.jsonl:1", "a list where an object is needed"),
        ("d.jsonl", '"a"\n', "d.jsonl:1", "a string where"),
        ("d.jsonl", '{"a": ' + "[" * 100_000 + "\n", "d.jsonl:1", "nested too deeply"),
        ("d.jsonl", '{"a": ' + "9" * 5000 + "}\n", "d.jsonl:1", "no valid JSON"),
        ("d.json", '[\n{"a": 1},\n{"a" 2}]', "d.json:3", "no valid JSON"),
        ("d.json", '{"a": 1}', "d.json", "an object with 0 lists"),
        ("d.json", '{"a": [1], "b": [2]}', "d.json", "an object with 2 lists"),
        ("d.json", "3", "d.json", "a number, not an array"),
        ("d.json", "[1, 2]", "d.json:1", "a number where an object"),
        ("d.jsonl", '{"a": "x"}\n{"a": "\u00e9"}\n'.encode("latin1"), "d.jsonl:2", "iconv"),
        ("d.jsonl", '{"a": "\u00e9"}'.encode("latin1"), "d.jsonl:1", "0xe9 at offset 7"),
        ("d.csv", "a\n\u00e9\n".encode("latin1"), "d.csv:2", "0xe9 at offset 2"),
        ("d.json", '["\u00e9"]'.encode("latin1"), "d.json:1", "offset 2"),
        ("d.jsonl", '{"a": 1}'.encode("utf-16"), "d.jsonl", "UTF-16"),
        ("d.csv", "a,b\n1,2,3\n", "d.csv:2", "3 cells under 2"),
        ("d.csv", "a,a\n1,2\n", "d.csv:1", "repeat"),
        ("d.csv", 'a\n"x\n', "d.csv:2", "no csv"),
        ("d.parquet", "no parquet", "d.parquet", "no readable parquet"),
        ("d.parquet", parquet()[:-9], "d.parquet", "no readable parquet"),
        ("d.jsonl", "", "d.jsonl", "no rows"),
        ("d.jsonl", "\n \n", "d.jsonl", "no rows"),
        ("d.json", "", "d.json", "no rows"),
        ("d.json", "[]", "d.json", "no rows"),
        ("d.csv", "a,b\n", "d.csv", "no rows"),
        ("d.txt", "hello", "d.txt", "no known format"),
        ("d.jsonl", CUT[:-2000], "d.jsonl", "cut or damaged"),
        ("d.jsonl", CUT[:5], "d.jsonl", "cut or damaged"),
        ("d.jsonl.gz", b"", "d.jsonl.gz", "no rows"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    tmp_path: Path, name: str, content: str | bytes, where: str, told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=told) as caught:
        list(read_rows(path))
    assert caught.value.where.endswith(where), caught.value.where


def test_damaged_compressed_bytes_are_told(tmp_path: Path) -> None:
    spoilt = bytearray(CUT)
    spoilt[len(spoilt) // 2] ^= 0xFF
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(bytes(spoilt))
    with pytest.raises(DataError):
        list(read_rows(path))


def test_nan_is_left_for_the_row_to_be_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "d.jsonl", '{"a": NaN, "b": [-Infinity]}\n')
    ((_, row),) = read_rows(path)
    assert math.isnan(row["a"]) and row["b"] == [-math.inf]


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "pairs.jsonl", LINES)
    with pytest.raises(DataError, match=r"Did you mean 'pairs\.jsonl'") as caught:
        read_rows(tmp_path / "pears.jsonl")
    assert "no such file" in str(caught.value)
    with pytest.raises(DataError, match="does not exist either"):
        read_rows(tmp_path / "nowhere" / "pears.jsonl")


@pytest.mark.parametrize("path", ["pairs", "a/b/c", "./a", "~/a", "x/y.jsonl", "a.csv.gz"])
def test_what_looks_like_a_path_never_goes_to_the_hub(path: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "d.jsonl"
    if kind == "pipe":
        os.mkfifo(place)
    if kind == "device":
        place.symlink_to("/dev/zero")
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(place))
    with pytest.raises(DataError, match=r"d\.jsonl: is a pipe or a device.*first"):
        read_rows(place)


def test_a_file_has_no_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'train'"):
        read_rows(write(tmp_path, "d.jsonl", LINES), "train")


def test_lines_are_streamed(tmp_path: Path) -> None:
    path = write(tmp_path, "d.jsonl", LINES * 2000 + "broken")
    assert len(list(islice(read_rows(path), 100))) == 100


def test_a_csv_cell_may_hold_a_long_trace(tmp_path: Path) -> None:
    path = write(tmp_path, "d.csv", "a\n" + "x" * 300_000 + "\n")
    assert len(next(iter(read_rows(path)))[1]["a"]) == 300_000


@given(st.binary(max_size=60), st.sampled_from(["jsonl", "json", "csv", "parquet", "x"]))
def test_any_bytes_give_rows_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"d.{kind}"
    path.write_bytes(data)
    try:
        for where, row in read_rows(path):
            assert where.startswith("d.") and isinstance(row, dict)
    except DataError as error:
        assert str(error)
