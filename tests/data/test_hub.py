from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import bvrank.data.hub as hub
from bvrank.data.files import read_rows
from bvrank.errors import DataError

ROWS = [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "two"))
    return tmp_path


def test_a_saved_folder_gives_its_rows(saved: Path) -> None:
    assert list(read_rows(saved / "one")) == [("one:1", ROWS[0]), ("one:2", ROWS[1])]
    assert [row for _, row in read_rows(saved / "two", "test")] == ROWS


def test_several_splits_have_to_be_chosen_from(saved: Path) -> None:
    with pytest.raises(DataError, match=r"several splits.*train \| test"):
        list(read_rows(saved / "two"))
    with pytest.raises(DataError, match="no split 'dev'"):
        list(read_rows(saved / "two", "dev"))
    with pytest.raises(DataError, match="has no splits"):
        list(read_rows(saved / "one", "train"))


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="It is empty"):
        read_rows(tmp_path)
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(DataError, match=r"such as a\.jsonl"):
        read_rows(tmp_path)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded"):
        read_rows(tmp_path)


def test_an_unreachable_hub_fails_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    began = time.perf_counter()
    with pytest.raises(DataError, match="the hub cannot be reached and no copy is cached"):
        read_rows("nobody/no-such-set-of-data")
    assert time.perf_counter() - began < 20


def test_a_hub_id_goes_through_load_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[str, str | None]] = []

    def load(name: str, configuration: str | None) -> object:
        asked.append((name, configuration))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(read_rows("org/data")) == [("org/data:1", ROWS[0]), ("org/data:2", ROWS[1])]
    assert asked == [("org/data", None)]
    assert next(iter(read_rows("org/data:main")))[1] == ROWS[0]
    assert asked[1:] == [("org/data", "main")]
