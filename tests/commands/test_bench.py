"""`bvrank bench`, run to its end on a very small shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bvrank.cli import main

SMALL = (
    "items=[2,3]", "prompts=[4]", "item_tokens=2", "rounds=2", "steps=1", "threads=1",
    "shape={vocab_size: 32, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, "
    "num_attention_heads: 1, num_key_value_heads: 1, head_dim: 8}",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import torch

    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.set_num_threads(threads)


def test_a_table_and_every_second(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL]) == 0
    told = capfd.readouterr()
    assert "[least, most of the steps' own ratios]" in told.out
    assert "a row per item" in told.out and "1 threads" in told.out and "outputs/bench" in told.out
    kept = json.loads((here / "outputs/bench/lists.json").read_text())
    keys = ("prompt", "items", "unique_tokens", "row_tokens")
    assert [tuple(c[k] for k in keys) for c in kept["cells"]] == [(4, 2, 8, 12), (4, 3, 10, 18)]
    for cell in kept["cells"]:
        assert {name: len(s) for name, s in cell["seconds"].items()} == dict.fromkeys(
            ("forest", "causal", "rows", "dense"), 2
        )
    assert kept["machine"]["threads"] == 1 and kept["settings"]["rounds"] == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("suite=list", "suite: must be one of lists, got 'list'"),
        ("items=[]", "items: must be one or more whole numbers from 1"),
        ("prompts=[0]", "prompts: must be one or more whole numbers from 1"),
        ("rounds=0", "rounds: must be at least 1, got 0"),
        ("limit=-1", "limit: must be at least 0, got -1"),
        ("shape.hidden_size=no", "shape: makes no model"),
        ("out=/proc/none", "/proc/none: cannot be made"),
    ],
)
def test_a_mistake_is_one_line(word: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, word]) == 2
    told = capfd.readouterr()
    assert told.err.startswith(f"error: {said}") and told.err.count("\n") == 1
