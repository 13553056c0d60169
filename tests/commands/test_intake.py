"""An entry of encoded rows is named by what decides them and by nothing else, and a store that
cannot keep them stops no run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bvrank.commands import intake
from bvrank.commands.intake import CODE, NO_ROWS, Half, Material, encoded
from bvrank.commands.settings import Intake
from bvrank.data.encoding import Encoder
from bvrank.data.lists import Lists
from bvrank.data.pairs import Pairs
from bvrank.data.templates import Template
from bvrank.errors import RunError
from bvrank.records import Example, Refused
from tests.commands.fast import list_rows, pair_rows, write
from tests.data.tokenizers import CHATML, byte_tokenizer, template
from tests.test_architecture import ROOT, imports


@pytest.fixture
def material(tmp_path: Path) -> Material:
    path = write(tmp_path / "pairs.jsonl", pair_rows())
    return Material(Pairs(str(path)), None, Intake(), template("text"), ("full", "bare"), 0)


def key(material: Material) -> str:
    content = material.content()
    assert content is not None
    return material.key(content)


def rows(halves: tuple[Half, Half]) -> list[Any]:
    """All there is to know of both halves."""
    return [
        ([(r.where, r.branches, [(s.parent, s.ids.tolist()) for s in r.segments])
          for r in half.rows], half.refused, half.found)
        for half in halves
    ]  # fmt: skip


def kept(store: Path) -> list[str]:
    folder = store / "rows"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


OTHER = {"eval_fraction": 0.5, "max_length": 100, "overlong": "error", "max_refused": 0.5,
         "eval_path": "elsewhere.jsonl"}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in fields(Intake)])
def test_of_the_intake_what_decides_rows_is_in_the_key(material: Material, name: str) -> None:
    other = replace(material, intake=replace(material.intake, **{name: OTHER[name]}))
    assert (key(other) == key(material)) is (name in NO_ROWS)


def test_what_else_decides_rows_is_in_the_key(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = write(tmp_path / "held.jsonl", pair_rows(2))
    moved = write(tmp_path / "more.jsonl", pair_rows(7))
    other_words = byte_tokenizer(None, "<|im_end|>", ("<|im_start|>",))
    others = [
        replace(material, seed=1),
        replace(material, views=("full",)),
        replace(material, held_source=Pairs(str(held))),
        replace(material, source=Pairs(str(moved))),
        replace(material, source=replace(material.source, bare_from="reuse")),
        replace(material, source=Lists(str(material.source.path))),
        replace(material, template=template("opened")),
        replace(material, template=Template(other_words)),
    ]
    keys = [key(material), *map(key, others)]
    Path(held).write_text(json.dumps(pair_rows()[0]) + "\n")  # the same name, another content
    keys.append(key(others[2]))
    for module in (intake.transformers, intake.tokenizers, intake.jinja2, intake.bvrank):
        with monkeypatch.context() as patched:
            patched.setattr(module, "__version__", "0.0")
            keys.append(key(material))
    with monkeypatch.context() as patched:
        patched.setattr(intake, "unidata_version", "0.0")
        keys.append(key(material))
    with monkeypatch.context() as patched:
        patched.setattr(intake, "code", lambda: "older")
        keys.append(key(material))
    assert [keys.index(k) for k in keys] == list(range(len(keys)))
    assert key(replace(material, template=Template(byte_tokenizer(*CHATML)))) == key(
        replace(material, template=Template(byte_tokenizer(*CHATML)))
    )


def test_the_code_that_decides_rows_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every module of ours that those import is one of them, or makes no row."""
    room = ROOT / "bvrank"
    files = {p for pattern in CODE for p in room.glob(pattern)}
    assert all(any(room.glob(pattern)) for pattern in CODE)
    no_rows = {"errors", "protocols", "run", "tracking", "settings", "values", "ranks", "layout",
               "collate", "objectives", "models", "converters"}  # fmt: skip
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "bvrank" and len(parts) > 2 and not {*parts} & no_rows:
                modules = (room.joinpath(*parts[1:end]).with_suffix(".py") for end in (2, 3))
                assert any(m in files for m in modules if m.is_file()), (path, name)
    copy = tmp_path / "bvrank"
    (copy / "data").mkdir(parents=True)
    (copy / "__init__.py").touch()
    (copy / "data" / "trees.py").write_text("a = 1\n")
    monkeypatch.setattr("bvrank.__file__", str(copy / "__init__.py"))
    found = []
    for text in ("a = 1\n", "a = 2\n"):
        (copy / "data" / "trees.py").write_text(text)
        intake.code.cache_clear()
        found.append(intake.code())
    intake.code.cache_clear()
    assert found[0] != found[1]


def test_rows_are_found_again(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows(encoded(material, tmp_path / "store"))
    assert kept(tmp_path / "store") == [key(material)]
    monkeypatch.setattr(Encoder, "chunk", lambda *_: pytest.fail("encoded again"))
    assert rows(encoded(material, tmp_path / "store")) == first


def test_a_source_that_changes_while_it_is_read_is_kept_under_no_name(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of a file that is written to between its fingerprint and its reading."""
    store, path, real = tmp_path / "store", Path(material.source.path), Pairs.rows

    def late(self: Pairs) -> Iterator[Example | Refused]:
        write(path, pair_rows(9))
        return real(self)

    monkeypatch.setattr(Pairs, "rows", late)
    found = rows(encoded(material, store))
    assert capsys.readouterr().err == (
        f"store: {path} changed while it was read; encoded rows are kept for this run only\n"
    )
    assert kept(store) == []
    monkeypatch.setattr(Pairs, "rows", real)
    assert rows(encoded(material, store)) == found  # those of the file as it is now
    assert kept(store) == [key(material)]


def test_a_store_that_cannot_be_written_is_read_all_the_same(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = tmp_path / "store"
    first = rows(encoded(material, store))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    chunk = Encoder.chunk
    monkeypatch.setattr(Encoder, "chunk", lambda *_: pytest.fail("encoded again"))
    assert rows(encoded(material, store)) == first and capsys.readouterr().err == ""
    monkeypatch.setattr(Encoder, "chunk", chunk)
    other = replace(material, seed=1)
    found = rows(encoded(other, store))
    told = capsys.readouterr().err
    assert kept(store) == [key(material)]
    assert told.startswith(f"store: {store / 'rows'} is no folder that can be written to; ")
    assert told.endswith("encoded rows are kept for this run only\n") and told.count("\n") == 1
    monkeypatch.undo()
    assert rows(encoded(other, store)) == found


ERRORS = [ValueError("of a tokenizer"), MemoryError(), KeyboardInterrupt(), RuntimeError("x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("place", [(Encoder, "chunk"), (Pairs, "rows")], ids=lambda p: p[1])
def test_what_encoding_raises_is_no_fault_of_the_store(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    error: BaseException, place: tuple[type, str],
) -> None:  # fmt: skip
    def fails(*_: object) -> Iterator[Any]:
        raise error
        yield

    monkeypatch.setattr(*place, fails)
    with pytest.raises(type(error)) as caught:
        encoded(material, tmp_path / "store")
    assert caught.value is error and not (tmp_path / "store").exists()


def test_a_disk_that_is_full_as_rows_are_written_is_told(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bvrank.data.shelf.Writer._put", full)
    with pytest.raises(RunError, match=r"the store cannot be written \(No space left on device\)"):
        encoded(material, tmp_path / "store")


@dataclass(frozen=True)
class Elsewhere:
    """A source whose content nobody knows."""

    path: str

    def rows(self) -> Iterator[Example | Refused]:
        return iter(Lists(self.path).rows())


def test_a_source_from_elsewhere_is_kept_for_this_run_alone(
    material: Material, tmp_path: Path
) -> None:
    path = str(write(tmp_path / "lists.jsonl", list_rows()))
    material = replace(material, source=Lists(path), views=("full",))
    wanted = rows(encoded(material, tmp_path / "other"))
    assert rows(encoded(replace(material, source=Elsewhere(path)), tmp_path / "store")) == wanted
    assert kept(tmp_path / "store") == []
    assert sum(len(np.unique(h.rows.alike)) for h in encoded(material, tmp_path / "other")) > 1
