"""What is not there is told before torch is imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.commands.early import adapter, check_files
from bvrank.errors import DataError
from tests.commands.fast import pair_rows, write
from tests.commands.line import ROOT, Call, process

PAIRS = ("objective=dpo", "data=pairs", "data.path=pairs.jsonl")
MISTAKES = {
    "data.path=nowhere.jsonl": "nowhere.jsonl: no such file",
    "data.eval_path=helt.jsonl": "helt.jsonl: no such file. Did you mean 'held.jsonl'?",
    "data.bare_path=bear.jsonl": "bear.jsonl: no such file",
    "data.pairing=both": "data.pairing: must be",
    "template.file=nowhere.jinja": "template.file: cannot be read",
    "scoring.reference=adapter_off": "scoring.reference: the model has no adapter",
    "model.lora.alpha=3": "model.lora.alpha: has no effect: r is 0",
    "launcher.processes=0": "launcher.processes: must be at least 1",
    "launcher.processes=3": "batch: must be a multiple of 3 processes",
    "launcher.nodes=2": "launcher.rendezvous: must be host:port",
    "eval.every=1": "eval.every: needs held-out rows",
    "store=pairs.jsonl": "store: ",
    "steps=0": "steps: must be at least 1",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("pairs", "held"):
        write(tmp_path / f"{name}.jsonl", pair_rows(2))
    for heavy in ("torch", "transformers", "datasets"):
        (tmp_path / "heavy" / heavy).mkdir(parents=True)
        (tmp_path / "heavy" / heavy / "__init__.py").write_text(f"raise RuntimeError({heavy!r})")
    return tmp_path


def without_torch(place: Path, *words: str) -> Call:
    heavy = {"PYTHONPATH": f"{place / 'heavy'}:{ROOT}"}
    return process("train", *PAIRS, "batch=4", *words, cwd=place, env=heavy)


@pytest.mark.parametrize("word", MISTAKES)
def test_a_cheap_mistake_is_told_without_torch(word: str, place: Path) -> None:
    done = without_torch(place, word)
    assert done.code == 2 and done.err.startswith(f"error: {MISTAKES[word]}"), done.err


def test_what_is_right_comes_to_where_torch_is_needed(place: Path) -> None:
    """Else the stand-ins above would prove nothing."""
    assert "RuntimeError: torch" in without_torch(place).err


def test_files_are_looked_for_below_sources_of_our_own_alone(tmp_path: Path) -> None:
    mine = {"_target_": "mylab.data.Rows", "path": str(tmp_path / "no.jsonl")}
    ours = {"_target_": "bvrank.data.pairs.Pairs", "path": str(tmp_path / "no.jsonl")}
    check_files(mine)
    check_files({"_target_": "bvrank.data.pairs.Pairs", "path": "someone/somewhere", "n": None})
    for node in (ours, {"parts": {"one": {"source": ours}}}):
        with pytest.raises(DataError, match="no such file"):
            check_files(node)


def test_the_adapter_of_a_foreign_model_is_known_by_building_it() -> None:
    assert adapter({"_target_": "mylab.Model"}) is None and adapter(None) is None
    assert adapter({"lora": {"_target_": "mylab.LoRA"}}) is None
    found = adapter({"lora": {"_target_": "bvrank.models.lora.LoRA", "r": 2}})
    assert found is not None and found.new
