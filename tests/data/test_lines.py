from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bvrank.data.lines import read_lines
from bvrank.errors import DataError


@pytest.mark.parametrize("zipped", [False, True])
def test_lines_come_with_their_number_and_without_blank_ones(tmp_path: Path, zipped: bool) -> None:
    data = "\ufeffa\r\n\n b \u2028c\n".encode()
    path = tmp_path / "x.txt"
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert list(read_lines(path)) == [("x.txt:1", "a"), ("x.txt:3", " b \u2028c")]


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(gzip.compress(b"a\n" * 9999)[:40])
    with pytest.raises(DataError, match="cut or damaged"):
        list(read_lines(path))
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"x\.txt:2: is not UTF-8"):
        list(read_lines(path))
    path.write_bytes(b"\n")
    with pytest.raises(DataError, match="holds no rows"):
        list(read_lines(path))
    with pytest.raises(DataError, match=r"no such file. Did you mean 'x\.txt'"):
        read_lines(tmp_path / "y.txt")
    with pytest.raises(DataError, match="is no file"):
        read_lines(tmp_path)
