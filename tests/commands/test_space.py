from __future__ import annotations

import json
import os
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bvrank.commands import space, train
from bvrank.commands.space import check_disk, check_store, checkpoint_bytes, moments, weights_of
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.run.store import kept
from bvrank.scoring.reference import ReferenceStore
from tests.commands.fast import config, go, on_pairs, steps

Usage = namedtuple("Usage", "total used free")


def node(tmp_path: Path, *words: str) -> tuple[Any, Any]:
    asked = train.request(on_pairs(tmp_path, "objective=dpo", *words))
    return asked.model, asked.settings


@pytest.mark.parametrize("words", [(), ("optimizer.name=SGD",), ("precision=fp64",),
                                   ("model.lora.r=32",)])  # fmt: skip
def test_the_estimate_is_what_a_checkpoint_weighs(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Within what headers, configuration and tokenizer add to the numbers."""
    wide = ("model.hidden_size=64", "model.intermediate_size=512")
    model, settings = node(tmp_path, *wide, *words)
    _, weights = weights_of(model, tiny_tokenizer())
    run = go(on_pairs(tmp_path, "objective=dpo", *wide, *words))
    last = run / "checkpoints" / steps(run)[-1]
    numbers = [p for p in last.rglob("*") if p.suffix in (".safetensors", ".pt")]
    real = sum(p.stat().st_size for p in numbers)
    assert real * 0.8 < checkpoint_bytes(weights, settings) <= real


def test_weights_are_counted_without_being_made(tmp_path: Path) -> None:
    model, _ = node(tmp_path)
    skeleton, weights = weights_of(model, tiny_tokenizer())
    real = tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=32)
    assert weights.whole == weights.trained == sum(p.numel() for p in real.parameters())
    assert all(p.is_meta for p in skeleton.parameters())
    _, adapter = weights_of(node(tmp_path, "model.lora.r=2")[0], tiny_tokenizer())
    assert 0 < adapter.trained < adapter.whole == weights.whole


def test_a_folder_of_transformers_is_counted_by_its_configuration(tmp_path: Path) -> None:
    real = tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=32)
    real.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    words = ("model=hf", f"model.path={tmp_path / 'model'}")
    asked = train.request(on_pairs(tmp_path, "objective=dpo", *words, tiny=False))
    (tmp_path / "model" / "model.safetensors").unlink()  # nothing of it is read
    skeleton, weights = weights_of(asked.model, tiny_tokenizer())
    assert weights.whole == sum(p.numel() for p in real.parameters())
    assert all(p.is_meta for p in skeleton.parameters())


@pytest.mark.parametrize(("words", "expected"), [
    ((), 2), (("optimizer.name=SGD",), 0), (("optimizer.name=Adagrad",), 1),
    (("optimizer.name=SGD", "++optimizer.options.momentum=0.9"), 1),
    (("++optimizer.options.amsgrad=true",), 3),
])  # fmt: skip
def test_moments_are_counted_after_a_step(
    tmp_path: Path, words: tuple[str, ...], expected: int
) -> None:
    assert moments(node(tmp_path, *words)[1]) == expected


def test_room_for_all_checkpoints_that_stand_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = space.Weights(1_000_000, 1_000_000)  # 12 MB with two moments
    _, settings = node(tmp_path, "checkpoint.keep=3", "checkpoint.best=loss")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, 61e6))
    found = check_disk(settings, tmp_path, weights)  # 3 kept, the best, and one being written
    assert not found.findings and found.told.startswith("5 checkpoints of 12.0 MB")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, 59e6))
    (full,) = check_disk(settings, tmp_path, weights).findings
    assert (full.name, full.level) == ("full", "problem") and "60.0 MB" in full.what
    assert not check_disk(settings, tmp_path, None).findings  # of unknown size


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc: root may write everywhere else")
    _, settings = node(tmp_path, "outputs=/proc/self/outputs")
    found = check_disk(settings, Path("/proc/store"), None).findings
    assert [(f.name, f.level) for f in found] == [("unwritable", "problem")] * 2
    assert "outputs=..." in found[0].repair and "store=..." in found[1].repair


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    _, settings = node(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check_disk(settings, tmp_path / "store", None)
    check_store(tmp_path / "store")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with an entry of every kind."""
    store = tmp_path / "store"
    teach = ("model.teach.steps=1", "model.teach.problems=20")
    go(on_pairs(tmp_path, "objective=dpo", *teach))
    go(config(tmp_path, "data=pairs", f"data.path={tmp_path / 'pairs.jsonl'}", "objective=dpo",
              "model=scratch", "model.vocabulary=512", "model.shape.hidden_size=16",
              "model.shape.head_dim=4", tiny=False))  # fmt: skip
    for name in ("accuracy/a", "pairs/p"):
        kept(store / name, lambda: lambda part: (part / "content.jsonl").write_text("{}"))
    return store


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def test_every_kind_of_entry_is_seen_torn(store: Path) -> None:
    assert {p.name for p in store.iterdir()} == {
        "accuracy", "models", "pairs", "reference", "rows", "tokenizers"
    }  # fmt: skip
    assert not check_store(store).findings and "all whole" in check_store(store).told
    patterns = ("accuracy/*/*.jsonl", "models/*/*.safetensors", "pairs/*/*.jsonl",
                "reference/*/*.values", "rows/*/train/ids.bin",
                "tokenizers/*/tokenizer.json")  # fmt: skip
    for count, pattern in enumerate(patterns, start=1):
        cut(next(store.glob(pattern)))
        (found,) = check_store(store).findings
        assert (found.name, found.level, found.count) == ("torn", "warning", count), pattern


def test_a_flipped_bit_in_reference_values_is_seen(store: Path) -> None:
    path = next(store.glob("reference/*/*.values"))
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[-1] ^= 1
    path.write_bytes(data.tobytes())
    assert str(path.parent.relative_to(store)) in check_store(store).findings[0].what
    assert not ReferenceStore(store, "x").damaged  # of another identity: not read at all


def test_what_a_dead_writer_left_is_told_once_it_is_old(tmp_path: Path) -> None:
    part = tmp_path / "models" / "abc.part"
    part.mkdir(parents=True)
    assert not check_store(tmp_path).findings  # somebody may be writing it
    os.utime(part, (time.time() - 7200,) * 2)
    (found,) = check_store(tmp_path).findings
    assert (found.name, found.level) == ("left_behind", "note")


def test_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    found = check_store(tmp_path / "nowhere")
    assert found.told.endswith("will be made") and not found.findings
    assert json.dumps(found.told)
