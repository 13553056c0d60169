"""Every key of `bvrank train` does something: another value changes what a run computes, what it
writes beside the config, or is refused. A key that stands in no table here fails.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from bvrank.commands import train
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.run.identity import flatten
from tests.commands.fast import TINY, list_rows, pair_rows, read, write

SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
SCRATCH = (
    "model=scratch", "model.vocabulary=512", "model.shape.hidden_size=16",
    "model.shape.intermediate_size=32", "model.shape.num_hidden_layers=1",
    "model.shape.num_attention_heads=2", "model.shape.head_dim=8",
)  # fmt: skip

# What stands around the key: option of a group -> overrides that make a quick run of it.
QUICK = ("steps=2", "batch=2", "optimizer.lr=0.01", "outputs=out", "store=store")
PAIRS = ("data=pairs", "data.path=pairs.jsonl", "data.max_refused=1")
LISTS = ("data=lists", "data.path=lists.jsonl", "data.max_refused=1")
ROOM: dict[str, tuple[str, ...]] = {
    "": (*PAIRS, "objective=bvpo", *TINY),
    "data=pairs": (*PAIRS, "objective=bvpo", *TINY),
    "data=lists": (*LISTS, "objective=irpo", *TINY),
    "data=mix": (
        "data=mix", "data.parts.thinking.source.path=full.jsonl", "data.max_refused=1",
        "data.parts.nothinking.source.path=bare.jsonl", "objective=dpo", *TINY,
    ),
    "data=arithmetic": (
        "objective=bvpo", *TINY, "data.path=pairs.jsonl", "data.test_problems=4",
        "data.test_samples=2", "data.max_new_tokens=4", "data.max_refused=1",
    ),
    "objective=sft": (*PAIRS, "objective=sft", *TINY),
    "objective=dpo": (*PAIRS, "objective=dpo", *TINY),
    "objective=bvpo": (*PAIRS, "objective=bvpo", *TINY),
    "objective=irpo": (*LISTS, "objective=irpo", *TINY),
    "model=tiny": (*PAIRS, "objective=dpo", *TINY),
    "model=hf": (*PAIRS, "objective=dpo", "model=hf", "model.path=hf", "optimizer.lr=0.01"),
    "model=scratch": (*PAIRS, "objective=dpo", *SCRATCH, "optimizer.lr=0.01"),
    "engine=local": (*PAIRS, "objective=dpo", *TINY),
}  # fmt: skip

# Room -> key -> another value, and what has to stand beside it for the key to have a meaning.
EVAL = {"eval_path": ("held.jsonl",), "eval_fraction": ("0.4",), "max_length": ("60",),
        "overlong": ("truncate_trace_middle", "data.max_length=60"), "max_refused": ("0.0",)}  # fmt: skip
LORA = {"lora.r": ("2",), "lora.alpha": ("4", "model.lora.r=2"), "lora.path": ("adapter",),
        "lora.dropout": ("0.5", "model.lora.r=2"), "lora.targets": ("[q_proj]", "model.lora.r=2")}  # fmt: skip
HELD = "data.eval_path=held.jsonl"
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "seed": ("1",), "steps": ("3",), "batch": ("3",), "micro": ("1",),
        "optimizer.name": ("SGD",), "optimizer.lr": ("0.02",),
        "optimizer.options": ("{weight_decay: 0.5}",),
        "scheduler.shape": ("linear", "steps=4"), "scheduler.warmup": ("1.0",),
        "schedule": ("{alpha: [1.0, 0.0]}",), "max_grad_norm": ("0.01", "optimizer.name=SGD"),
        "precision": ("fp64",), "activation_checkpointing": ("true",),
        "scoring.layout": ("padded",), "scoring.chunk": ("2",),
        "eval.every": ("1", HELD), "eval.rows": ("1", HELD),
        "checkpoint.every": ("1",), "checkpoint.keep": ("1", "checkpoint.every=1"),
        "checkpoint.best": ("lr", "checkpoint.keep=1"), "log.every": ("4", "steps=4"),
        "resume": ("true",), "force": ("true",), "name": ("mine",), "outputs": ("elsewhere",),
        "store": ("other",), "trusted": ("[tests]", "objective._target_=tests.small.nothing"),
    },
    "data=pairs": {
        **EVAL, "path": ("held.jsonl",), "bare_path": ("bare.jsonl",), "bare_from": ("reuse",),
        "pairing": ("independent",), "view": ("bare", "data.path=plain.jsonl", "objective=dpo"),
        "split": ("train",), "bare_split": ("train", "data.bare_path=bare.jsonl"),
        "prompt_column": ("question",), "chosen_column": ("other",), "rejected_column": ("other",),
        "view_column": ("other",), "system_column": ("note",),
    },
    "data=lists": {
        **EVAL, "eval_path": ("heldlists.jsonl",), "max_length": ("30",),
        "overlong": ("error", "data.max_length=30"),
        "path": ("heldlists.jsonl",), "split": ("train",), "context": ("inlist",),
        "separator": (" / ", "data.context=inlist"), "end_token": ("false",),
        "prompt_column": ("other",), "candidates_column": ("other",),
        "relevance_column": ("other",), "rank_column": ("order",), "system": ("Rank.",),
    },
    "data=mix": {
        **EVAL, "seed": ("5", "data.parts.thinking.weight=1", "data.parts.nothinking.weight=5"),
        "overlong": ("truncate_trace_middle", "data.max_length=46"), "max_length": ("46",),
        "parts.thinking.source.path": ("held.jsonl",), "parts.thinking.slot": ("bare",),
        "parts.thinking.weight": ("2", "data.parts.nothinking.weight=1"),
        "parts.nothinking.source.path": ("bare2.jsonl",), "parts.nothinking.source.view": ("full",),
        "parts.nothinking.slot": ("null",),
        "parts.nothinking.weight": ("2", "data.parts.thinking.weight=1"),
    },
    "data=arithmetic": {
        **EVAL, "path": ("held.jsonl",), "test_problems": ("5",), "test_samples": ("3",),
        "seed": ("3", "data.path=null"), "problems": ("30", "data.path=null"),
        "samples": ("5", "data.path=null"), "temperature": ("0.5", "data.path=null"),
        "max_new_tokens": ("9", "data.path=null"), "pairing": ("prompt",),
    },
    "objective=sft": {"view": ("bare",)},
    "objective=dpo": {
        "beta": ("0.7",), "label_smoothing": ("0.2",), "view": ("bare",),
        "pairs": ("whole_list", *LISTS),
    },
    "objective=bvpo": {"alpha": ("0.1",), "beta": ("0.7",), "label_smoothing": ("0.2",)},
    "objective=irpo": {
        "beta": ("0.5",), "form": ("official",), "weight": ("mrr",), "ranks": ("shown",),
        "ties": ("order",), "normalize": ("true",), "reduce": ("mean",), "view": ("bare",),
        "k": ("1", "objective.weight=p_at_k"), "decay": ("0.9", "objective.weight=edcg"),
    },
    "model=tiny": {
        **LORA, "hidden_size": ("8",), "layers": ("2",), "heads": ("1",),
        "intermediate_size": ("16",), "teach.steps": ("1",), "teach.seed": ("4",),
        "teach.batch": ("3", "model.teach.steps=1"), "teach.lr": ("0.1", "model.teach.steps=1"),
        "teach.problems": ("7", "model.teach.steps=1"),
        "teach.nothinking": ("0.1", "model.teach.steps=1"),
    },
    "model=hf": {
        **LORA, "path": ("hf2",), "revision": ("main",), "attention": ("eager",),
    },
    "model=scratch": {
        **{k: v for k, v in LORA.items() if k != "lora.path"}, "lora.path": ("nowhere",),
        "architecture": ("llama",), "vocabulary": ("600",), "shape.hidden_size": ("32",),
        "shape.intermediate_size": ("16",), "shape.num_hidden_layers": ("2",),
        "shape.num_attention_heads": ("4",), "shape.num_key_value_heads": ("1",),
        "shape.head_dim": ("4",), "shape.max_position_embeddings": ("64",),
        "shape.tie_word_embeddings": ("false",),
    },
    "engine=local": {"device": ("cuda:77",)},
}  # fmt: skip
KEYS = [(room, key) for room, keys in OTHER.items() for key in keys]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with everything that the tables name."""
    monkeypatch.chdir(tmp_path)
    rows = [r | {"question": f"{r['prompt']} again", "note": "Be brief."} for r in pair_rows()]
    held = [{**r, "prompt": f"new {r['prompt']}"} for r in pair_rows(3)]
    full, bare = ([r for r in rows if r["view"] == v] for v in ("full", "bare"))
    plain = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "no"} for i in range(4)]
    lists = [{**r, "prompt": f"new {r['prompt']}"} for r in list_rows()]
    write(tmp_path / "pairs.jsonl", rows)
    write(tmp_path / "held.jsonl", held)
    write(tmp_path / "full.jsonl", full)
    write(tmp_path / "plain.jsonl", plain)
    write(tmp_path / "bare.jsonl", bare[:4])
    write(tmp_path / "bare2.jsonl", bare[2:])
    write(tmp_path / "lists.jsonl", list_rows())
    write(tmp_path / "heldlists.jsonl", lists)
    for name, seed in (("hf", 0), ("hf2", 1)):
        tiny_model(seed, **SHAPE).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    lora = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model(0, **SHAPE), lora).save_pretrained(tmp_path / "adapter")
    return tmp_path


@pytest.mark.parametrize(("room", "key"), KEYS)
def test_another_value_changes_something(
    room: str, key: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, *beside = OTHER[room][key]
    group = room.partition("=")[0]
    word = f"{group}.{key}={value}" if group else f"{key}={value}"
    if value.startswith("{"):
        word = f"++{word}"
    base = (*QUICK, *ROOM[room], *beside)
    usual, changed = (observed(files, words, monkeypatch) for words in (base, (*base, word)))
    assert usual != changed, f"{key}={value} changes nothing"


def test_the_usual_values_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every change above would be told from an error."""
    for words in ROOM.values():
        found = observed(files, (*QUICK, *words), monkeypatch)
        assert "error" not in found, found


def observed(
    place: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a run computes and leaves, but for its config, its name by content and its seconds."""
    for made in ("out", "elsewhere", "store", "other"):
        shutil.rmtree(place / made, ignore_errors=True)
    calls: Counter[str] = Counter()
    config = frozen(composed("train", words))
    for earlier in ({**config, "force": False, "resume": False},) * (config["force"]):
        train.main(earlier)
    with monkeypatch.context() as patched:
        count_calls(patched, calls)
        try:
            train.main(config)
        except BvrankError as error:
            return {"error": str(error)}
    return {"calls": calls, **left(place)}


def count_calls(patched: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """How often the head and the layers run: what only saves memory shows here."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

    from bvrank.scoring.scorer import Scorer

    for owner, name in ((Scorer, "_logits"), (Qwen3MLP, "forward")):
        real = getattr(owner, name)

        def counted(self: Any, *args: Any, real: Any = real, name: str = name) -> Any:
            calls[name] += 1
            return real(self, *args)

        patched.setattr(owner, name, counted)


def left(place: Path) -> dict[str, Any]:
    """Files below outputs and store, and the figures in them."""
    found: dict[str, Any] = {"store": Counter(), "figures": [], "files": set()}
    for run in [p for o in ("out", "elsewhere") for p in (place / o).glob("*")]:
        name = "by content" if run.name.count("-") >= 3 else run.name
        found["files"] |= {f"{run.parent.name}/{name}/{p}" for p in relative(run)}
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        figures = [{k: v for k, v in r.items() if not k.startswith("speed/")} for r in lines]
        summary = {k: v for k, v in read(run / "summary.json").items() if k != "final"}
        manifest = read(run / "manifest.json")
        told = {k: manifest.get(k) for k in ("data", "reference", "policy_against_reference")}
        policy = read(next(run.glob("checkpoints/*/policy/*config.json")))
        found["figures"].append((figures, summary | {"next": ""}, told, policy))
    for store in ("store", "other"):
        found["store"].update(str(Path(store, p).parent) for p in relative(place / store))
    return found


def relative(folder: Path) -> Iterator[str]:
    return (str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.mark.parametrize("room", ROOM)
def test_no_key_is_missing_here(room: str) -> None:
    group, _, option = room.partition("=")
    config = frozen(composed("train", [*QUICK, *ROOM[room]]))
    if not option:
        known = {"objective", "data", "engine", "model", "experiment"}
        config = {k: v for k, v in config.items() if k not in known}
    else:
        config = config[group]
    keys = {k for k in flatten(config) if not k.endswith("_target_")}
    covered = set(OTHER[room])
    opened = {"optimizer.options", "schedule"}
    assert {k for k in keys if not k.startswith(tuple(opened))} == covered - opened
