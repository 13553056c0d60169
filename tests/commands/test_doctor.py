from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import doctor
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from tests.commands.fast import TINY, write
from tests.commands.line import ROOT, process
from tests.commands.planted import clean_pairs, examined


def equal_side(place: Path) -> Path:
    """A file with one equal pair among 200."""
    rows = clean_pairs()
    rows[40]["rejected"] = rows[40]["chosen"]
    return write(place / "p.jsonl", rows)


def words(path: Path, *more: str) -> list[str]:
    return ["doctor", "objective=dpo", "data=pairs", f"data.path={path}", "store=store", *TINY,
            *more]  # fmt: skip


def test_it_takes_the_keys_of_train_and_its_own() -> None:
    train, ours = frozen(composed("train")), frozen(composed("doctor"))
    assert {k: ours[k] for k in train} == train
    assert set(ours) - set(train) == set(doctor.Options.__dataclass_fields__)
    assert ours["json"] is False and ours["proof"] == {"steps": 4}


def test_checks_come_in_a_fixed_order(tmp_path: Path, capsys: Any) -> None:
    _, document = examined(tmp_path, capsys, clean_pairs())
    assert [(c["area"], c["name"]) for c in document["checks"]] == [
        ("machine", "versions"), ("machine", "accelerator"), ("machine", "disk"),
        ("machine", "store"), ("data", "rows"), ("data", "template"), ("data", "bos"),
        ("data", "boundary"), ("data", "thinking"), ("data", "length"), ("data", "sides"),
        ("data", "duplicates"), ("data", "leakage"), ("data", "lengths"),
    ]  # fmt: skip


def test_a_pipe_gets_a_plain_screen_and_exit_code_1(tmp_path: Path) -> None:
    done = process(*words(equal_side(tmp_path)), cwd=tmp_path)
    assert (done.code, done.err) == (1, "")
    assert "\x1b" not in done.out
    assert "  warning  sides        equal_sides 1\n" in done.out
    assert "sides: chosen and rejected are the same in 1 row\n    p.jsonl:41\n" in done.out


def test_stdout_is_one_document_with_json(tmp_path: Path) -> None:
    done = process(*words(equal_side(tmp_path), "json=true"), cwd=tmp_path)
    assert done.code == 1
    assert json.loads(done.out)["counts"]["warning"] == 1


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_gets_colours_unless_asked_not_to(tmp_path: Path, plain: bool) -> None:
    """In a pseudo-terminal, as a user sees it."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "90"}
    environment |= {"NO_COLOR": "1"} if plain else {}
    line = [sys.executable, "-P", "-m", "bvrank", *words(equal_side(tmp_path))]
    running = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=theirs,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # Linux ends a pseudo-terminal so
        pass
    finally:
        os.close(ours)
    assert running.wait(timeout=60) == 1
    text = seen.decode()
    assert ("\x1b[33mwarning" in text, "\x1b" in text) == (not plain, not plain)
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", x)) for x in text.splitlines()) <= 90


@pytest.mark.parametrize(
    ("word", "where"),
    [("steps=0", "steps"), ("model.heads=3", "model"), ("proof.steps=5", "proof.steps"),
     ("json=perhaps", "json"), ("data.path=nowhere.jsonl", "nowhere.jsonl"),
     ("proof.more=1", "proof"), ("template.file=nowhere", "template.file"),
     ("template.end_token=zzzz", "template.end_token")],
)  # fmt: skip
def test_what_train_would_refuse_is_refused_the_same_way(
    word: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2: the error of the command line, not a finding."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BvrankError) as caught:
        key = f"++{word}" if word.startswith("proof.more") else word
        line = words(equal_side(tmp_path))[1:]
        doctor.main(frozen(composed("doctor", [*line, key])))
    assert str(caught.value).startswith(where)
    assert caught.value.exit_code == 2


def test_a_script_gets_its_document_also_of_what_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "x", "chosen"\n')
    done = process(*words(tmp_path / "p.jsonl", "json=true"), cwd=tmp_path)
    assert done.code == 2 and done.err.startswith("error: ")
    found = json.loads(done.out)
    assert found["verdict"] == "problem"
    assert "p.jsonl:1" in found["checks"][0]["findings"][0]["what"]


def test_nothing_but_the_store_is_written_and_no_weights_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from bvrank.models.tiny import Tiny

    real = Tiny.model

    def watched(self: Any, tokenizer: Any, seed: int) -> Any:
        made = real(self, tokenizer, seed)
        assert all(p.is_meta for p in made.parameters())
        return made

    monkeypatch.setattr(Tiny, "model", watched)
    examined(tmp_path, capsys, clean_pairs())
    assert {p.name for p in tmp_path.iterdir()} == {"p.jsonl", "h.jsonl"}
