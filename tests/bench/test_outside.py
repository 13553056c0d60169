"""Commands timed from outside: what they leave is read, and one that fails is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bvrank.bench import outside
from bvrank.commands.compose import composed, frozen
from bvrank.errors import RunError

# A stand-in for `bvrank`: what it does is told by its words.
COMMAND = """
import json, os, sys, time
from pathlib import Path
words = sys.argv[1:]
if "fail" in words:
    print("a line")
    print("error: why", file=sys.stderr)
    sys.exit(2)
if "say" in words:
    print("teaching: 1/2", flush=True)
    print("threads", os.environ["OMP_NUM_THREADS"], flush=True)
    print("half", end="", flush=True)
    time.sleep(0.3)
if "idle" not in words and words[0] == "train":
    run = Path("runs/one")
    run.mkdir(parents=True)
    lines = [json.dumps({"speed/seconds": s}) for s in (9.0, 1.0, 2.0)]
    (run / "metrics.jsonl").write_text("\\n".join(lines) + "\\n")
if "forever" in words:
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    monkeypatch.setattr(outside, "_command", lambda words: [sys.executable, str(script), *words])


def test_a_command_is_timed_to_its_end(tmp_path: Path) -> None:
    assert 0 < outside.answered(["--help"], tmp_path) < 10
    with pytest.raises(RunError, match=r"^bvrank store fail: error: why"):
        outside.answered(["store", "fail"], tmp_path)


def test_the_first_step_does_not_count_and_nothing_is_left(tmp_path: Path) -> None:
    assert outside.steps(["steps=3"], tmp_path, threads=1) == [1.0, 2.0]
    assert not (tmp_path / "runs").exists()
    with pytest.raises(RunError, match=r"^bvrank train.*: error: why"):
        outside.steps(["fail"], tmp_path, threads=1)


def test_a_run_is_stopped_behind_its_first_step(tmp_path: Path) -> None:
    assert 0 < outside.first_step(["forever"], tmp_path) < 10
    assert not (tmp_path / "runs").exists()


def test_what_a_run_says_is_heard_line_by_line(tmp_path: Path) -> None:
    heard: list[str] = []
    outside.first_step(["say", "forever"], tmp_path, 3, heard.append)
    assert heard == ["teaching: 1/2", "threads 3"], "and no half of a line"


NASTY = [
    "plain", "", " a b ", "a=b,c", "{a: b}", "[1, 2]", 'a"b', "a'b", "a\\", 'a\\"b', "\\\\", "${x}",
    "a${oc.env:HOME}b", "\\${x}", "$x", "~/a", "é ü", "null", "true", "1", "1e3", "a#b", "a:b",
    "%&", "(a)", "a\\\\${x}", "?", "???",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_any_text_comes_through_hydra_as_it_is(text: str) -> None:
    words = [outside.word("data.path", f"/folder/{text}"), "objective=dpo", "data=pairs"]
    assert frozen(composed("train", words))["data"]["path"] == f"/folder/{text}"
    if text != "???":  # which OmegaConf itself takes for a value that is missing
        words = [outside.word("++model.shape.x", text), "objective=dpo", "data=pairs",
                 "data.path=p", "model=scratch"]  # fmt: skip
        assert frozen(composed("train", words))["model"]["shape"]["x"] == text


@pytest.mark.parametrize(
    "value", [None, True, False, 3, 1e-06, 2.5, [1, "a b", None], {"a": {"b": [True, "x,y"]}}]
)
def test_any_plain_value_comes_through_hydra_as_it_is(value: object) -> None:
    words = [outside.word("++model.shape.x", value), "objective=dpo", "data=pairs", "data.path=p",
             "model=scratch"]  # fmt: skip
    assert frozen(composed("train", words))["model"]["shape"]["x"] == value


def test_a_run_that_ends_before_its_first_step_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="error: why"):
        outside.first_step(["fail"], tmp_path)
    with pytest.raises(RunError, match="bvrank train: ended before its first step"):
        outside.first_step(["idle"], tmp_path)
    monkeypatch.setattr(outside, "PATIENCE", 0.2)
    with pytest.raises(RunError, match="said nothing in 0 s"):
        outside.first_step(["idle", "forever"], tmp_path)
