from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands.convert import main
from bvrank.data.lists import Lists
from bvrank.errors import ConfigError, DataError, RunError

ARC = {"_target_": "bvrank.data.converters.arc.ARC", "distractors": "given"}
GOOD = {"instruction": "Why?\n\nAnswer1: a Answer2: b", "answer": "answer1"}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "raw.json").write_text(json.dumps([GOOD, {**GOOD, "answer": "answer2"}]))
    return {
        "from": ARC,
        "path": str(tmp_path / "raw.json"),
        "out": str(tmp_path / "new" / "out.jsonl"),
        "split": None,
        "test_fraction": 0.0,
        "seed": 0,
        "force": False,
        "max_refused": 0.01,
        "trusted": [],
    }


def test_what_is_written_is_read_by_the_source_it_is_for(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(config) == 0
    told = capsys.readouterr().out
    assert "2 kept, 0 refused" in told
    assert f"bvrank train objective=irpo data=lists data.path={config['out']}" in told
    rows = list(Lists(config["out"]).rows())
    assert [[c.relevance for c in r.candidates] for r in rows] == [[1, 0], [0, 1]]
    assert [p.name for p in Path(config["out"]).parent.iterdir()] == ["out.jsonl"]


def test_an_existing_file_is_kept_unless_forced(config: dict[str, Any]) -> None:
    main(config)
    before = Path(config["out"]).read_bytes()
    Path(config["path"]).write_text(json.dumps([GOOD]))
    with pytest.raises(RunError, match="force=true"):
        main(config)
    assert Path(config["out"]).read_bytes() == before
    assert main({**config, "force": True}) == 0
    assert Path(config["out"]).read_bytes() != before


def test_a_gz_file_is_compressed_and_always_the_same(config: dict[str, Any]) -> None:
    config["out"] += ".gz"
    main(config)
    before = Path(config["out"]).read_bytes()
    main({**config, "force": True})
    assert Path(config["out"]).read_bytes() == before
    assert len(gzip.decompress(before).splitlines()) == 2


def test_too_many_refused_rows_write_nothing(config: dict[str, Any]) -> None:
    Path(config["path"]).write_text(json.dumps([GOOD, {**GOOD, "answer": "x"}]))
    with pytest.raises(DataError, match=r"bad_answer 1.*max_refused=0\.5") as caught:
        main(config)
    assert "data.max_refused" not in str(caught.value) and not Path(config["out"]).exists()
    assert main({**config, "max_refused": 0.5}) == 0


def test_refused_rows_are_told(config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path(config["path"]).write_text(json.dumps([GOOD, {**GOOD, "answer": "x"}]))
    main({**config, "max_refused": 1.0})
    assert "raw.json:2: bad_answer" in capsys.readouterr().out


def test_a_name_that_hydra_cannot_read_is_quoted(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config["out"] = str(Path(config["out"]).parent / "a (1).jsonl")
    main(config)
    assert f"'data.path=\"{config['out']}\"'" in capsys.readouterr().out


def test_the_candidates_can_be_shown_in_the_prompt(config: dict[str, Any]) -> None:
    main({**config, "from": {**ARC, "candidates_in_prompt": True}})
    assert json.loads(Path(config["out"]).read_text().splitlines()[0])["prompt"] == "Why?\n- a\n- b"


@pytest.mark.parametrize("out", ["a.txt", "a", 3, "", ".gz"])
def test_the_target_has_to_be_a_jsonl_file(config: dict[str, Any], out: Any) -> None:
    with pytest.raises(ConfigError):
        main({**config, "out": out})


def test_a_target_that_cannot_be_written_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        main({**config, "out": str(tmp_path / "file" / "x.jsonl")})
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(RunError, match="is a folder"):
        main({**config, "out": str(tmp_path / "d.jsonl")})


def test_the_command_line(bvrank: Any) -> None:
    done = bvrank("convert", "from=arc", "path=a.json", "out=b.jsonl")
    assert done.code == 0 and done.config["from"]["candidates_in_prompt"] is False
    for args in ((), ("from=arc",), ("from=arcc", "path=a", "out=b.jsonl")):
        assert bvrank("convert", *args).code == 2
