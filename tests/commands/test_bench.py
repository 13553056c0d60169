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
from bvrank.commands.bench import IDLE
from tests.bench.results import every, lists, pairs
from tests.commands.fast import write
from tests.commands.planted import clean_pairs

GENERAL = (
    "rounds=2", "steps=1", "threads=1",
    "shape={vocab_size: 600, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, "
    "num_attention_heads: 1, num_key_value_heads: 1, head_dim: 8}",
)  # fmt: skip
SECTIONS: dict[str, tuple[str, ...]] = {
    "lists": ("items=[2,3]", "prompts=[4]", "item_tokens=2"),
    "growth": ("items=[2,3]", "traces=[3,6]", "rows=[4,9]"),
    "memory": ("vocabularies=[300]", "scored=[4]", "prompt=2"),
    "pairs": ("batch=2", "rows=4", "micro=[2]", "screen=[2]"),
    "views": ("batch=2", "rows=4", "micro=[2]", "screen=[2]"),
}


def small(suite: str = "lists") -> tuple[str, ...]:
    """A very small setting of a suite, of keys that it reads."""
    general = [w for w in GENERAL if w.partition("=")[0] not in IDLE.get(suite, ())]
    own = [f"{suite}.{word}" for word in SECTIONS.get(suite, ())]
    return (f"suite={suite}", *general, *own)


SMALL = small()


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
    assert list(kept) == ["suite", "settings", "machine", "cells", "whole"]
    assert kept["suite"] == "lists" and kept["whole"] is True
    assert [(c["setting"], c["facts"]) for c in kept["cells"]] == [
        ({"prompt": 4, "items": 2}, {"unique_tokens": 8, "row_tokens": 12}),
        ({"prompt": 4, "items": 3}, {"unique_tokens": 10, "row_tokens": 18}),
    ]
    for cell in kept["cells"]:
        assert list(cell["arms"]) == ["forest", "causal", "rows", "dense"]
        assert {len(arm["seconds"]) for arm in cell["arms"].values()} == {2}
    assert kept["machine"]["threads"] == 1 and kept["settings"]["rounds"] == 2


def test_growth_in_three_sizes_of_things(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *small("growth")]) == 0
    told = capfd.readouterr().out
    assert all(f"Cost by {kind}" in told for kind in ("items", "trace tokens", "rows"))
    found = Result.load(here / "outputs/bench/growth.json")
    assert [c.setting["size"] for c in found.cells] == [2, 3, 3, 6, 4, 9]
    assert [c.facts["tokens"] for c in found.cells[:2]] == [512 + 8 * 2, 512 + 8 * 3]


@pytest.mark.parametrize("suite", ["pairs", "memory"])
def test_arms_of_their_own(suite: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(here / "pairs.jsonl", clean_pairs(9))
    own = {"pairs": (f"pairs.path={path}", "pairs.recompute=[]"),
           "memory": ("memory.recompute=false",)}  # fmt: skip
    assert main(["bench", *small(suite), *own[suite], "peer=false"]) == 0
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


def test_what_was_measured_before_a_stop_is_kept_and_what_was_whole_stays(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from bvrank.bench import suites

    real = suites.list_arms

    def stopping(cell: Any, *given: Any) -> Any:
        if cell.items == 3:
            raise KeyboardInterrupt
        return real(cell, *given)

    monkeypatch.setattr(suites, "list_arms", stopping)
    assert main(["bench", *SMALL]) == 130
    found = Result.load(here / "outputs/bench/lists.json")
    assert [c.setting["items"] for c in found.cells] == [2] and not found.whole
    capfd.readouterr()
    assert main(["bench", "report"]) == 0
    assert "stopped before its end: settings are missing" in capfd.readouterr().out
    monkeypatch.setattr(suites, "list_arms", real)
    assert main(["bench", *SMALL]) == 0
    kept = (here / "outputs/bench/lists.json").read_bytes()
    assert Result.load(here / "outputs/bench/lists.json").whole
    monkeypatch.setattr(suites, "list_arms", stopping)
    capfd.readouterr()
    assert main(["bench", *SMALL]) == 130
    assert (here / "outputs/bench/lists.json").read_bytes() == kept, "a whole one stays"
    (cell,) = Result.load(here / "outputs/bench/lists.partial.json").cells
    assert cell.setting["items"] == 2
    assert ("outputs/bench/lists.json is still the earlier result, what was measured now is in "
            "outputs/bench/lists.partial.json") in capfd.readouterr().err  # fmt: skip
    assert main(["bench", "report"]) == 0
    assert "left out: outputs/bench/lists.partial.json" in capfd.readouterr().err


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
    ("change", "why"),
    [
        ({"suite": "other"}, "it is of suite 'other'"),
        ({"cells": {"a": 1}}, "holds no measurement"),
        ({"machine": {}}, "KeyError: 'threads'"),
        ({"setting": {"prompt": "long", "items": 2}}, "invalid literal for int"),
        ({"setting": {"prompt": [1], "items": 2}}, "TypeError"),
        ({"setting": {}}, "KeyError: 'prompt'"),
        ({"arms": {}}, "an arm without a step"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    change: dict[str, Any], why: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "outputs/bench").mkdir(parents=True)
    path = lists().save(here / "outputs/bench")
    found = json.loads(path.read_text())
    for key, value in change.items():
        (found if key in found else found["cells"][0])[key] = value
    path.write_text(json.dumps(found))
    assert main(["bench", "report"]) == 2
    told = capfd.readouterr()
    assert "lists.json: holds no measurement" in told.err and why in told.err
    assert told.err.count("\n") == 1 and not told.out
    assert not (here / "outputs/bench/index.html").exists()


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
        (
            "shape.hiden_size=8",
            "shape.hiden_size: there is no such key. Did you mean 'hidden_size'",
        ),
        (
            "shape.num_attention_heads=3 shape.num_key_value_heads=2",
            "shape.num_attention_heads: must be a multiple of num_key_value_heads=2, got 3",
        ),
        ("shape.num_key_value_heads=0", "shape.num_key_value_heads: must be at least 1, got 0"),
        ("shape.head_dim=7", "shape: makes no model"),
        ("shape.hidden_act=none", "shape: makes no model"),
        ("compile=true", "compile: means nothing to suite=lists. Leave it out."),
        ("suite=growth compile=true", "compile: means nothing to suite=growth"),
        ("suite=memory rounds=3", "rounds: means nothing to suite=memory"),
        ("suite=memory steps=3", "steps: means nothing to suite=memory"),
        ("suite=memory limit=3", "limit: means nothing to suite=memory"),
        ("suite=start steps=3", "steps: means nothing to suite=start"),
        ("suite=start shape.hidden_size=16", "shape: means nothing to suite=start"),
        ("suite=ranks steps=3", "steps: means nothing to suite=ranks. Write ranks.steps=..."),
        ("suite=ranks device=cuda", "device: ranks are measured on the processor's cores"),
        ("suite=ranks ranks.path=a shape.heads=2", "shape.heads: there is no such key"),
        ("pairs.path=a.jsonl", "pairs.path: means nothing to suite=lists. Write suite=pairs, or"),
        ("action=report rounds=3", "rounds: means nothing to a report"),
        ("action=report device=cuda", "device: means nothing to a report"),
        ("suite=pairs action=report", "suite: means nothing to a report"),
        *(
            (f"suite={s} shape.vocab_size=511", "shape.vocab_size: must lie in [512, 1000000], got")
            for s in ("pairs", "views", "ranks")
        ),
        ("out=/proc/none", "/proc/none: cannot be made"),
    ],
)
def test_a_mistake_is_one_line(words: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    given = dict(word.split("=", 1) for word in words.split())
    suite = given.pop("suite", None) or next((k for k in SECTIONS if f"{k}." in words), "lists")
    if "suite" not in words and "means nothing" in said:
        suite = "lists"
    usual = () if "action" in given or suite == "list" else small(suite)[1:]
    own = [w for w in usual if w.partition("=")[0] not in given]
    assert main(["bench", f"suite={suite}", *own, *(f"{k}={v}" for k, v in given.items())]) == 2
    told = capfd.readouterr()
    assert told.err.startswith(f"error: {said}") and told.err.count("\n") == 1


@pytest.mark.parametrize("suite", ["pairs", "views", "memory"])
def test_missing_trl_is_said_at_once_with_what_brings_it(
    suite: str, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "trl" else real(n))
    path = write(here / "pairs.jsonl", clean_pairs(9))
    words = [] if suite == "memory" else [f"{suite}.path={path}"]
    assert main(["bench", *small(suite), *words]) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: peer: the package trl is not installed") and "peer=false" in told
