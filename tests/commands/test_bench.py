"""`bvrank bench`, run to its end on a very small shape."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import work
from bvrank.bench.result import Result
from bvrank.cli import main
from tests.bench.results import every, pairs
from tests.commands.fast import write
from tests.commands.planted import clean_pairs

SMALL = (
    "lists.items=[2,3]", "lists.prompts=[4]", "lists.item_tokens=2", "growth.items=[2,3]",
    "growth.traces=[3,6]", "growth.rows=[4,9]", "memory.vocabularies=[300]", "memory.scored=[4]",
    "memory.prompt=2", "pairs.batch=2", "pairs.rows=4", "pairs.micro=[2]", "pairs.screen=[2]",
    "rounds=2", "steps=1", "threads=1",
    "shape={vocab_size: 600, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, "
    "num_attention_heads: 1, num_key_value_heads: 1, head_dim: 8}",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import torch

    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "SIDE", 64)
    monkeypatch.setenv("BVRANK_STORE", str(tmp_path / "store"))
    yield tmp_path
    torch.set_num_threads(threads)


def test_a_table_and_every_second(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL]) == 0
    told = capfd.readouterr()
    assert "[least, most of the ratios of steps taken side by side]" in told.out
    assert "a row per item" in told.out and "1 thread\n" in told.out
    assert told.out.endswith("bench: outputs/bench/lists.json\n")
    kept = json.loads((here / "outputs/bench/lists.json").read_text())
    assert list(kept) == ["suite", "settings", "machine", "cells"] and kept["suite"] == "lists"
    assert [(c["setting"], c["facts"]) for c in kept["cells"]] == [
        ({"prompt": 4, "items": 2}, {"unique_tokens": 8, "row_tokens": 12}),
        ({"prompt": 4, "items": 3}, {"unique_tokens": 10, "row_tokens": 18}),
    ]
    for cell in kept["cells"]:
        assert list(cell["arms"]) == ["forest", "causal", "rows", "dense"]
        assert {len(arm["seconds"]) for arm in cell["arms"].values()} == {2}
    assert kept["machine"]["threads"] == 1 and kept["settings"]["rounds"] == 2


def test_growth_in_three_sizes_of_things(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, "suite=growth"]) == 0
    told = capfd.readouterr().out
    assert all(f"Cost by {kind}" in told for kind in ("items", "trace tokens", "rows"))
    found = Result.load(here / "outputs/bench/growth.json")
    assert [c.setting["size"] for c in found.cells] == [2, 3, 3, 6, 4, 9]
    assert [c.facts["tokens"] for c in found.cells[:2]] == [512 + 8 * 2, 512 + 8 * 3]


@pytest.mark.parametrize("suite", ["pairs", "memory"])
def test_arms_of_their_own(suite: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(here / "pairs.jsonl", clean_pairs(9))
    words = (f"suite={suite}", f"pairs.path={path}", "pairs.recompute=[]",
             "memory.recompute=false", "peer=false")  # fmt: skip
    assert main(["bench", *SMALL, *words]) == 0
    told = capfd.readouterr()
    assert "Writing" not in told.err, "no bar but bvrank's own"
    (cell,) = Result.load(here / f"outputs/bench/{suite}.json").cells
    (arm,) = cell.arms.values()
    assert len(arm.seconds) == 2 and 0 < arm.above < arm.peak


def test_a_report_of_all_that_was_measured(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "outputs/bench").mkdir(parents=True)
    for result in every():
        result.save(here / "outputs/bench")
    assert main(["bench", "report"]) == 0
    told = capfd.readouterr().out
    for title in ("A step on a list", "DPO:", "BVPO,", "Memory", "Cost by", "How soon", "A thread"):
        assert title in told
    assert told.endswith("report: outputs/bench/index.html\n")
    assert (here / "outputs/bench/index.html").stat().st_size > 10_000


def test_what_was_measured_before_a_stop_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bvrank.bench import suites

    real = suites.list_arms

    def stopping(cell: Any, *given: Any) -> Any:
        if cell.items == 3:
            raise KeyboardInterrupt
        return real(cell, *given)

    monkeypatch.setattr(suites, "list_arms", stopping)
    assert main(["bench", *SMALL]) == 130
    (cell,) = Result.load(here / "outputs/bench/lists.json").cells
    assert cell.setting["items"] == 2


def test_a_report_of_nothing_and_of_a_damaged_file(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "report"]) == 2
    assert capfd.readouterr().err.startswith("error: outputs/bench: holds no measurement.")
    (here / "outputs/bench").mkdir(parents=True)
    pairs().save(here / "outputs/bench")
    (here / "outputs/bench/lists.json").write_text('{"cells": [')
    assert main(["bench", "report"]) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: outputs/bench/lists.json: holds no measurement")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("suite=list", "suite: must be one of lists, pairs, views, memory, growth, start, ranks"),
        ("action=repeat", "action: must be one of run, report, got 'repeat'"),
        ("items=[5]", "items: there is no such key."),
        ("lists.items=[]", "lists.items: must be one or more whole numbers from 1"),
        ("lists.prompts=[0]", "lists.prompts: must be one or more whole numbers from 1"),
        ("suite=pairs", "pairs.path: needs a file of pairs"),
        ("suite=views", "views.path: needs a file of pairs"),
        ("suite=ranks", "ranks.path: needs a file of pairs"),
        ("suite=pairs pairs.path=none.jsonl peer=false", "none.jsonl: no such file"),
        ("pairs.micro=[3]", "pairs.micro: must divide batch=2, got 3"),
        ("views.rows=1", "views.rows: must be at least batch=2"),
        ("memory.scored=[0]", "memory.scored: must be one or more whole numbers from 1"),
        ("memory.vocabularies=[60]", "memory.vocabularies: must be at least 261"),
        ("growth.rows=[0]", "growth.rows: must be one or more whole numbers from 1"),
        ("ranks.steps=1", "ranks.steps: must be at least 2"),
        ("rounds=0", "rounds: must be at least 1, got 0"),
        ("limit=-1", "limit: must be at least 0, got -1"),
        ("shape.hidden_size=no", "shape: makes no model"),
        ("shape.vocab_size=3", "shape.vocab_size: must be a whole number from 4"),
        *(
            (f"suite={s} shape.vocab_size=511", "shape.vocab_size: must lie in [512, 1000000], got")
            for s in ("pairs", "views", "ranks")
        ),
        ("out=/proc/none", "/proc/none: cannot be made"),
    ],
)
def test_a_mistake_is_one_line(words: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, *words.split()]) == 2
    told = capfd.readouterr()
    assert told.err.startswith(f"error: {said}") and told.err.count("\n") == 1


@pytest.mark.parametrize("suite", ["pairs", "views", "memory"])
def test_missing_trl_is_said_at_once_with_what_brings_it(
    suite: str, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "trl" else real(n))
    path = write(here / "pairs.jsonl", clean_pairs(9))
    words = [f"suite={suite}", f"pairs.path={path}", f"views.path={path}"]
    assert main(["bench", *SMALL, *words]) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: peer: the package trl is not installed") and "peer=false" in told
