"""Every key of `bvrank bench` does something in every suite: another value changes what the suite
asks to be measured, or is refused. A key of conf/bench.yaml that stands in no table here fails.

What measures is replaced by something that writes down what it was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.bench import cost, suites, versus, whole
from bvrank.bench.agreement import Agreement
from bvrank.bench.result import Arm
from bvrank.bench.rounds import Timing
from bvrank.bench.versus import Measured, Setting
from bvrank.commands import bench
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.run.identity import flatten
from tests.commands.fast import write
from tests.commands.planted import clean_pairs

USUAL = ("threads=1", "peer=false", "store=store", "shape={vocab_size: 600, hidden_size: 8, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, "
         "num_key_value_heads: 1, head_dim: 8}")  # fmt: skip
ON_PAIRS = {"path": "other.jsonl", "rows": "12", "batch": "8", "micro": "[1]", "recompute": "[4]",
            "screen": "[1]", "max_length": "40"}  # fmt: skip
OWN: dict[str, dict[str, str]] = {  # key of a suite's section -> another value
    "lists": {"items": "[7]", "prompts": "[9]", "item_tokens": "3", "budget": "30"},
    "pairs": ON_PAIRS,
    "views": ON_PAIRS,
    "memory": {"vocabularies": "[500]", "scored": "[6]", "prompt": "5", "recompute": "false"},
    "growth": {"items": "[3]", "traces": "[5]", "rows": "[6]"},
    "ranks": {"path": "other.jsonl", "batch": "3", "steps": "4", "engine": "zero2"},
    "start": {},
}
SMALL: dict[str, tuple[str, ...]] = {
    "lists": ("lists.items=[2]", "lists.prompts=[4]", "lists.item_tokens=2"),
    "pairs": ("pairs.path=pairs.jsonl", "pairs.rows=8", "pairs.batch=4", "pairs.micro=[4]",
              "pairs.screen=[4]", "pairs.recompute=[2]", "pairs.max_length=200"),
    "views": ("views.path=pairs.jsonl", "views.rows=8", "views.batch=4", "views.micro=[4]",
              "views.screen=[4]", "views.max_length=200"),
    "memory": ("memory.vocabularies=[300]", "memory.scored=[4]", "memory.prompt=2"),
    "growth": ("growth.items=[2]", "growth.traces=[3]", "growth.rows=[4]"),
    "ranks": ("ranks.path=pairs.jsonl",),
    "start": (),
}  # fmt: skip
GENERAL = {"rounds": "3", "steps": "5", "limit": "11", "threads": "2", "device": "cuda",
           "precision": "bf16", "compile": "true", "peer": "true", "seed": "4",
           "shape.hidden_size": "12", "store": "elsewhere"}  # fmt: skip
TRUE_WITHOUT = {  # suite -> keys whose usual value asks for nothing that the suite could leave out
    "peer": {"lists", "growth", "start", "ranks"},  # there is no TRL in them
    "store": {"lists", "memory", "growth", "start", "ranks"},  # nor anything reusable
}
WHOLE = ("start", "ranks")  # whose limit is looked at below
ELSEWHERE = {"action", "suite", "out"}  # tests/commands/test_bench.py
CASES = [
    (suite, key, value)
    for suite in SMALL
    for key, value in [*GENERAL.items(), *((f"{suite}.{k}", v) for k, v in OWN[suite].items())]
    if suite not in TRUE_WITHOUT.get(key, ()) and (key != "limit" or suite not in WHOLE)
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.jsonl", clean_pairs(20))
    write(tmp_path / "other.jsonl", clean_pairs(20, "other"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked to be measured."""
    seen: list[Any] = []
    note(seen, monkeypatch)
    return seen


def note(seen: list[Any], patched: pytest.MonkeyPatch) -> None:
    def interleaved(arms: Any, *, on_round: Any, **told: Any) -> dict[str, Timing]:
        seen.append((list(arms), told, torch.get_num_threads()))
        on_round(told["rounds"])
        return {name: Timing((1.0,) * told["rounds"] * told["steps"]) for name in arms}

    def list_arms(cell: Any, policy: Any, *told: Any) -> dict[str, Any]:
        seen.append((cell, weights(policy), told))
        return dict.fromkeys(("forest", "causal", "rows", "dense"))

    def scoring(policy: Any, trees: Any, precision: str) -> Any:
        seen.append((weights(policy), str(trees), precision))

    def measured(jobs: Any, folder: Path, *, on_round: Any, **told: Any) -> Measured:
        every = {n: job for group in jobs.values() for n, job in group.items()}
        seen.append((told, {n: content(job, folder) for n, job in every.items()}))
        losses = {name: [0.7, 0.6] for name in every}
        return Measured({n: Arm((1.0,), 2, 1) for n in jobs}, losses, Agreement(0, 1, 1))

    def screened(_: Any, micros: list[int], *__: Any) -> Any:
        seen.append(micros)
        return [(Setting(micros[0], "live"), 1.0)]

    def rows(*told: Any) -> Any:
        seen.append(told)
        return real(*told)

    def command(words: list[str], folder: Path, threads: int, *_: Any) -> float:
        seen.append(([w.replace(str(folder), "") for w in words], threads))
        return 1.0

    real = suites.real_rows
    patched.setattr(suites, "real_rows", rows)
    patched.setattr(suites, "interleaved", interleaved)
    patched.setattr(suites, "list_arms", list_arms)
    patched.setattr(cost, "scoring", scoring)
    patched.setattr(suites, "matmul_rate", lambda *_: 1.0)
    patched.setattr(versus, "check_peer", lambda: None)
    patched.setattr(versus, "measured", measured)
    patched.setattr(versus, "screened", screened)
    patched.setattr(versus, "witnessed", lambda *_: Agreement(0, 1, 1))
    patched.setattr(whole.outside, "answered", command)
    patched.setattr(whole.outside, "first_step", command)
    patched.setattr(whole.outside, "steps", lambda *told: [command(*told)])


def weights(policy: Any) -> Any:
    return [float(p.detach().double().sum()) for p in policy.parameters()], policy.device


def content(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A job without the name of its folder, with what lies there."""
    told = {k: str(v).replace(str(folder), "") for k, v in job.items()}
    rows = json.loads(Path(job["rows"]).read_text())
    shape = json.loads((Path(job["model"]) / "config.json").read_text())
    saved = (Path(job["model"]) / "model.safetensors").read_bytes()
    return {**told, "rows": rows, "shape": shape, "model": hash(saved)}


def observed(seen: list[Any], suite: str, *words: str) -> Any:
    """What a suite asks for, and what stands in its result beside its settings."""
    seen.clear()
    usual = [w for w in (*USUAL, *SMALL[suite]) if suite != "start" or "shape" not in w]
    config = frozen(composed("bench", [f"suite={suite}", *usual, *words]))
    options: bench.Options = bench.construct(bench.Options, config, "")
    try:
        bench._refuse_idle(options)
        *_, result = bench._measured(options)
    except BvrankError as error:
        return str(error)
    return str(seen), result.machine, result.cells


@pytest.mark.parametrize(("suite", "key", "value"), CASES)
def test_another_value_changes_what_is_measured_or_is_refused(
    suite: str, key: str, value: str, asked: list[Any]
) -> None:
    beside = ["peer=true"] if key.endswith(".screen") else []  # it is TRL that is screened
    usual = observed(asked, suite, *beside)
    assert isinstance(usual, tuple), usual
    assert observed(asked, suite, *beside) == usual, "else every change were seen in chance"
    assert observed(asked, suite, *beside, f"{key}={value}") != usual, (
        f"{key}={value} changes nothing"
    )


def test_a_limit_reaches_whole_commands(asked: list[Any]) -> None:
    for suite in WHOLE:
        assert len(observed(asked, suite, "limit=0")[0]) < len(observed(asked, suite)[0])


def test_no_key_is_missing_here() -> None:
    shown = {k for k in flatten(frozen(composed("bench"))) if not k.startswith("shape.")}
    own = {f"{suite}.{key}" for suite, keys in OWN.items() for key in keys}
    assert shown == own | ELSEWHERE | (set(GENERAL) - {"shape.hidden_size"})
