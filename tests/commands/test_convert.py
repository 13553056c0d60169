from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import convert, train
from bvrank.commands.convert import main
from bvrank.data.lists import Lists
from bvrank.errors import ConfigError, DataError, RunError
from tests.commands import fast

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


def test_a_file_of_another_format_names_its_converter(config: dict[str, Any]) -> None:
    Path(config["path"]).write_text(json.dumps([{"question": "Who?"}]))
    with pytest.raises(DataError, match=r"Repair the file"):
        main(config)
    Path(config["path"]).write_text(json.dumps([{
        "chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no",
    }]))  # fmt: skip
    with pytest.raises(DataError, match=r"no row is left.*from=hh, from=trl or from=ultrafeedback"):
        main(config)


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


@pytest.fixture
def many(config: dict[str, Any]) -> dict[str, Any]:
    """Ten questions, of which two stand there twice."""
    rows = [{**GOOD, "instruction": f"Why {i % 8}?\n\nAnswer1: a Answer2: b"} for i in range(10)]
    Path(config["path"]).write_text(json.dumps(rows))
    return config


def sides(config: dict[str, Any], name: str = "out.test.jsonl") -> list[list[str]]:
    """The prompts of train and test."""
    out = Path(config["out"])
    files = (out, out.with_name(name))
    return [[json.loads(line)["prompt"] for line in f.read_text().splitlines()] for f in files]


def test_a_share_goes_into_a_second_file_with_none_of_the_same_questions(
    many: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main({**many, "test_fraction": 0.5}) == 0
    train, test = sides(many)
    assert len(set(test)) == 4 and len(train) + len(test) == 10 and not set(train) & set(test)
    told = capsys.readouterr().out
    assert f"out.test.jsonl: {len(test)} kept" in told
    assert told.rstrip().endswith(f"data.eval_path={Path(many['out']).parent}/out.test.jsonl")
    main({**many, "test_fraction": 0.5, "seed": 1, "force": True})
    assert sides(many)[1] != test


def test_a_gz_file_has_a_gz_file_beside_it(many: dict[str, Any]) -> None:
    main({**many, "out": f"{many['out']}.gz", "test_fraction": 0.5})
    names = sorted(p.name for p in Path(many["out"]).parent.iterdir())
    assert names == ["out.jsonl.gz", "out.test.jsonl.gz"]


def test_a_test_file_that_exists_is_kept_unless_forced(many: dict[str, Any]) -> None:
    test = convert.test_path(Path(many["out"]))
    test.parent.mkdir()
    test.write_text("mine")
    with pytest.raises(RunError, match=r"out\.test\.jsonl: exists"):
        main({**many, "test_fraction": 0.5})
    assert not Path(many["out"]).exists()
    assert main(many) == 0 and test.read_text() == "mine"  # no share, no second file
    prompt = json.loads(Path(many["out"]).read_text().splitlines()[0])["prompt"]
    Path(many["out"]).unlink()
    test.write_text(json.dumps({"prompt": prompt}))
    with pytest.raises(RunError, match=r"out\.test\.jsonl: holds prompts of this file"):
        main(many)
    assert not Path(many["out"]).exists() and test.exists()


def test_no_test_file_of_an_earlier_conversion_looks_current(
    many: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows are among the train rows now; it may be another's, so nothing is lost of it."""
    test = convert.test_path(Path(many["out"]))
    for number in (1, 2):
        main({**many, "test_fraction": 0.5, "force": True})
        before = test.read_bytes()
        capsys.readouterr()
        assert main({**many, "force": True}) == 0 and not test.exists()
        aside = test.with_name(f"out.test.jsonl.old-{number}")
        assert aside.read_bytes() == before
        assert capsys.readouterr().err == f"{test}: not of this conversion, is now {aside.name}\n"
    assert main({**many, "force": True}) == 0 and capsys.readouterr().err == ""


def test_a_test_file_that_cannot_be_moved_leaves_all_as_it_was(
    many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    main({**many, "test_fraction": 0.5})
    folder = Path(many["out"]).parent
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(path: Path, target: Path) -> None:
        raise OSError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(RunError, match=r"out\.test\.jsonl: cannot be moved \(Permission"):
            main({**many, "force": True})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("older", [True, False])
def test_both_files_are_written_or_none(
    many: dict[str, Any], older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if older:
        main({**many, "test_fraction": 0.5})
    folder = Path(many["out"]).parent
    before = {p.name: p.read_bytes() for p in folder.iterdir()} if older else {}
    real = convert.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.name == "out.test.jsonl":
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(convert, "write_atomic", full)
    with pytest.raises(RunError, match=r"out\.test\.jsonl: cannot be written \(No space"):
        main({**many, "test_fraction": 0.3, "force": True})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("test_fraction", v) for v in (-0.1, 1, "a", None, True, float("nan"))]
    + [("seed", v) for v in ("a", 0.5, None, True)]
    + [("path", v) for v in (None, 3, " ")]
    + [("force", v) for v in ("no", "off", 1, None)]
    + [("max_refused", v) for v in ("abc", None, [1], 7, -1, float("nan"), True)],
)
def test_bad_settings_are_told(many: dict[str, Any], key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        main({**many, key: value})
    assert caught.value.where == key


@pytest.mark.parametrize(
    ("path", "out"),
    [("a.jsonl", "a.jsonl"), ("a.jsonl", "b/../a.jsonl"), ("a.test.jsonl", "a.jsonl")],
)
def test_the_file_that_is_read_is_not_written_over(
    path: str, out: str, many: dict[str, Any], tmp_path: Path
) -> None:
    raw = tmp_path / path
    raw.write_text(json.dumps(GOOD))
    with pytest.raises(ConfigError, match="out: is the file that is read"):
        main({**many, "path": str(raw), "out": str(tmp_path / out), "force": True})
    assert raw.read_text() == json.dumps(GOOD)


def test_a_side_without_rows_writes_nothing(config: dict[str, Any]) -> None:
    """Two questions whose lists need what the other one has: train alone has too little."""
    rows = [{**GOOD, "instruction": f"Why {i}?\n\nAnswer1: a{i} Answer2: b{i}"} for i in range(2)]
    Path(config["path"]).write_text(json.dumps(rows))
    filled = {**ARC, "distractors": "random", "list_size": 3}
    main({**config, "from": filled})
    with pytest.raises(DataError, match="no row is left for train"):
        main({**config, "from": filled, "test_fraction": 0.5, "max_refused": 1, "force": True})


def test_a_format_of_its_own_has_no_splits(config: dict[str, Any]) -> None:
    letor = {"_target_": "bvrank.data.converters.letor.LETOR"}
    with pytest.raises(ConfigError, match="no splits"):
        main({**config, "from": letor, "split": "train"})


def test_converted_lists_train(many: dict[str, Any], tmp_path: Path) -> None:
    main({**many, "test_fraction": 0.3})
    words = ["data=lists", f"data.path={many['out']}", "objective=irpo",
             f"data.eval_path={convert.test_path(Path(many['out']))}"]  # fmt: skip
    assert train.main(fast.config(tmp_path, *words)) == 0
    assert len(list((tmp_path / "outputs").glob("*/summary.json"))) == 1


def test_the_command_line(bvrank: Any) -> None:
    done = bvrank("convert", "from=arc", "path=a.json", "out=b.jsonl")
    assert done.code == 0 and done.config["from"]["candidates_in_prompt"] is False
    for args in ((), ("from=arc",), ("from=arcc", "path=a", "out=b.jsonl")):
        assert bvrank("convert", *args).code == 2
