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
from unittest.mock import MagicMock

import pytest
from peft import LoraConfig, get_peft_model

from bvrank.commands import train
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.models.tiny import UNTHINK, tiny_model, tiny_tokenizer
from bvrank.run import read_jsonl
from bvrank.run.identity import flatten
from bvrank.sampling.transformers import Sample, Sampling
from tests.commands import test_train
from tests.commands.fast import TINY, list_rows, pair_rows, read, write

UNTHINK_ID = tiny_tokenizer().convert_tokens_to_ids(UNTHINK)
SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
SCRATCH = (
    "model=scratch", "model.vocabulary=512", "model.shape.hidden_size=16",
    "model.shape.intermediate_size=32", "model.shape.num_hidden_layers=1",
    "model.shape.num_attention_heads=2", "model.shape.head_dim=8",
)  # fmt: skip

# What stands around the key: option of a group -> overrides that make a quick run of it.
QUICK = (
    "steps=2", "batch=2", "optimizer.lr=0.01", "outputs=out", "store=store",
    "examples.count=1", "examples.max_new_tokens=2",
)  # fmt: skip
PAIRS = ("data=pairs", "data.path=pairs.jsonl", "data.max_refused=1")
LISTS = ("data=lists", "data.path=lists.jsonl", "data.max_refused=1")
PAIRWISE = ("robust", "ipo", "hinge", "apo_zero", "apo_down", "simpo", "orpo", "marginal")
LISTWISE = ("sdpo", "listmle", "listnet", "lipo", "approx_ndcg")
ROOM: dict[str, tuple[str, ...]] = {
    "": (*PAIRS, "objective=bvpo", *TINY),
    "data=pairs": (*PAIRS, "objective=bvpo", *TINY),
    "data=lists": (*LISTS, "objective=irpo", *TINY),
    "data=mix": (
        "data=mix", "data.parts.thinking.source.path=full.jsonl", "data.max_refused=1",
        "data.parts.nothinking.source.path=plain.jsonl", "objective=dpo", *TINY,
    ),
    "data=arithmetic": (
        "objective=bvpo", *TINY, "data.path=pairs.jsonl", "data.test_problems=4",
        "data.test_samples=2", "data.max_new_tokens=40", "data.max_refused=1", "data.problems=20",
    ),
    "data=mix_arithmetic": (
        "data=mix_arithmetic", "objective=dpo", *TINY, "data.max_refused=1", "data.eval_path=null",
        "data.parts.own.source.test_problems=4", "data.parts.own.source.test_samples=2",
        "data.parts.own.source.max_new_tokens=40", "data.parts.own.source.problems=20",
        "data.parts.own.source.path=pairs.jsonl",
    ),
    "objective=sft": (*PAIRS, "objective=sft", *TINY),
    "objective=dpo": (*PAIRS, "objective=dpo", *TINY),
    "objective=bvpo": (*PAIRS, "objective=bvpo", *TINY),
    "objective=irpo": (*LISTS, "objective=irpo", *TINY),
    **{f"objective={o}": (*PAIRS, f"objective={o}", *TINY) for o in PAIRWISE},
    **{f"objective={o}": (*LISTS, f"objective={o}", *TINY) for o in LISTWISE},
    "model=tiny": (*PAIRS, "objective=dpo", *TINY),
    "model=hf": (*PAIRS, "objective=dpo", "model=hf", "model.path=hf", "optimizer.lr=0.01"),
    "model=scratch": (*PAIRS, "objective=dpo", *SCRATCH, "optimizer.lr=0.01"),
    "engine=local": (*PAIRS, "objective=dpo", *TINY),
    "engine=zero1": (*PAIRS, "objective=dpo", *TINY, "engine=zero1"),
    "tracker=wandb": (*PAIRS, "objective=dpo", *TINY, "tracker=wandb"),
    "tracker=tensorboard": (*PAIRS, "objective=dpo", *TINY, "tracker=tensorboard"),
}  # fmt: skip

# Room -> key -> another value, and what has to stand beside it for the key to have a meaning.
EVAL = {"eval_path": ("held.jsonl",), "eval_fraction": ("0.4",), "max_length": ("36",),
        "overlong": ("truncate_trace_middle", "data.max_length=36"),
        "max_refused": ("0.0", "data.path=flawed.jsonl")}  # fmt: skip
LORA = {
    "lora.r": ("2",), "lora.alpha": ("4", "model.lora.r=2"), "lora.path": ("adapter",),
    "lora.dropout": ("0.5", "model.lora.r=2"), "lora.targets": ("[q_proj]", "model.lora.r=2"),
}  # fmt: skip
ON_PAIRS = {
    "beta": ("0.7",), "view": ("bare",), "pairs": ("whole_list", *LISTS), "sft_weight": ("0.2",),
}  # fmt: skip
ON_LISTS = {"beta": ("0.5",), "reduce": ("mean",), "view": ("bare",), "sft_weight": ("0.2",)}
WEIGHTED = {
    "weight": ("mrr",), "ranks": ("shown",), "ties": ("order",),
    "k": ("1", "objective.weight=p_at_k"), "decay": ("0.9", "objective.weight=edcg"),
}  # fmt: skip
LEAKY = ("true", "objective.form=official", "objective.beta=0.01")
HELD, FEW = "data.eval_path=held.jsonl", "model.teach.problems=20"
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "seed": ("1",), "steps": ("3",), "batch": ("3",), "micro": ("1",),
        "optimizer.name": ("SGD",), "optimizer.lr": ("0.02",),
        "optimizer.options": ("{weight_decay: 0.5}",),
        "scheduler.shape": ("linear", "steps=4"), "scheduler.warmup": ("1.0",),
        "schedule": ("{alpha: [1.0, 0.0]}",), "max_grad_norm": ("0.01", "optimizer.name=SGD"),
        "precision": ("fp64",), "activation_checkpointing": ("true",),
        "scoring.layout": ("padded",), "scoring.chunk": ("2",), "scoring.reference": ("live",),
        "scoring.unshifted": ("true",), "trainer.reduction": ("microbatch_sum",),
        "launcher.processes": ("2",), "launcher.nodes": ("2",), "launcher.timeout": ("0",),
        "launcher.rendezvous": ("host:29500",),  # with more than one process: test_launch.py
        "eval.every": ("1", HELD), "eval.rows": ("1", HELD),
        "checkpoint.every": ("1",), "checkpoint.keep": ("1", "checkpoint.every=1"),
        "checkpoint.best": ("lr", "checkpoint.keep=1"), "log.every": ("4", "steps=4"),
        "examples.count": ("2",), "examples.max_new_tokens": ("3",),
        "name": ("mine",), "outputs": ("elsewhere",),
        "store": ("other",), "trusted": ("[tests]", "objective._target_=tests.small.nothing"),
        "template.empty_block": ("'<think> </think>'",),
        "template.end_token": ("'<|endoftext|>'",), "template.file": ("dated.jinja",),
        "template.date": ("2025-01-01", "template.file=dated.jinja"),
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
        "max_refused": ("0.0", "data.path=flawedlists.jsonl"),
        "path": ("heldlists.jsonl",), "split": ("train",), "context": ("inlist",),
        "separator": (" / ", "data.context=inlist"), "end_token": ("false",),
        "prompt_column": ("other",), "candidates_column": ("other",),
        "relevance_column": ("other",), "rank_column": ("order",), "system": ("Rank.",),
    },
    "data=mix": {
        **EVAL, "max_refused": ("0.0", "data.parts.thinking.source.path=flawed.jsonl"),
        "seed": ("5", "data.parts.thinking.weight=1", "data.parts.nothinking.weight=5", "batch=9"),
        "parts.thinking.source.path": ("held.jsonl",), "parts.thinking.slot": ("bare",),
        "parts.thinking.weight": ("2", "data.parts.nothinking.weight=1"),
        "parts.nothinking.source.path": ("bare.jsonl",), "parts.nothinking.source.view": ("full",),
        "parts.nothinking.slot": ("null",),
        "parts.nothinking.weight": ("2", "data.parts.thinking.weight=1"),
    },
    "data=arithmetic": {
        **EVAL, "path": ("held.jsonl",), "test_problems": ("5",), "test_samples": ("3",),
        "seed": ("3", "data.path=null"), "problems": ("30", "data.path=null"),
        "samples": ("5", "data.path=null"), "temperature": ("0.5", "data.path=null"),
        "max_new_tokens": ("9", "data.path=null"), "pairing": ("prompt",),
        "traces": ("2", "data.path=null"),
    },
    "data=mix_arithmetic": {
        **EVAL, "max_refused": ("0.0", "data.parts.own.source.path=flawed.jsonl"),
        "parts.own.slot": ("bare",), "parts.own.source.path": ("held.jsonl",),
        "parts.own.source.test_problems": ("5",), "parts.own.source.test_samples": ("3",),
        **{f"parts.own.source.{k}": (v, "data.parts.own.source.path=null") for k, v in {
            "seed": "3", "problems": "30", "samples": "5", "temperature": "0.5",
            "max_new_tokens": "9", "traces": "2"}.items()},
    },
    "objective=sft": {"view": ("bare",)},
    "objective=dpo": {**ON_PAIRS, "label_smoothing": ("0.2",)},
    "objective=bvpo": {
        "alpha": ("0.1",), "beta": ("0.7",), "bare_beta": ("0.7",), "loss.beta": ("0.7",),
        "loss.label_smoothing": ("0.2",), "loss.view": ("bare",), "loss.sft_weight": ("0.2",),
        "loss.pairs": ("whole_list", *LISTS, "objective.alpha=1.0"),
    },
    "objective=irpo": {
        **ON_LISTS, **WEIGHTED, "form": ("official",), "normalize": ("true",),
        "leaky_self_mask": LEAKY,
    },
    **{f"objective={o}": ON_PAIRS for o in ("ipo", "hinge", "apo_zero", "apo_down")},
    "objective=robust": {**ON_PAIRS, "label_smoothing": ("0.2",)},
    "objective=marginal": {**ON_PAIRS, "label_smoothing": ("0.2",)},
    "objective=simpo": {**ON_PAIRS, "gamma": ("0.3",)},
    "objective=orpo": ON_PAIRS,
    **{f"objective={o}": ON_LISTS for o in ("sdpo", "listmle", "lipo")},
    "objective=listnet": {**ON_LISTS, **WEIGHTED},
    "objective=approx_ndcg": {**ON_LISTS, "steepness": ("3.0",)},
    "model=tiny": {
        **LORA, "hidden_size": ("8",), "layers": ("2",), "heads": ("1",),
        "intermediate_size": ("16",), "teach.steps": ("1", FEW),
        "teach.seed": ("4",), "teach.batch": ("3", "model.teach.steps=1", FEW),
        "teach.lr": ("0.1", "model.teach.steps=1", FEW),
        "teach.problems": ("7", "model.teach.steps=1", FEW),
        "teach.nothinking": ("0.1", "model.teach.steps=1", FEW),
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
    "engine=zero1": {
        "device": ("cuda",), "stage": ("3",), "ds": ("{zero_optimisation: {stage: 1}}",),
    },
    "tracker=wandb": {
        "wandb.project": ("mine",), "wandb.entity": ("us",), "wandb.group": ("here",),
        "wandb.tags": ("[a]",), "wandb.mode": ("disabled",), "wandb.timeout": ("5",),
        "wandb.api_key_env": ("OTHER_KEY", "tracker.wandb.mode=online"),
    },
    "tracker=tensorboard": {},
}  # fmt: skip
ELSEWHERE = {  # keys that need an earlier run -> the test that has one
    "resume": test_train.test_an_unfinished_run_is_refused_until_it_is_resumed,
    "force": test_train.test_force_moves_the_older_run_aside,
}
KEYS = [(room, key) for room, keys in OTHER.items() for key in keys]


DATED = (
    "{%- for m in messages -%}{{ date_string }}|{{ m.content }}<|im_end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}A:{%- endif -%}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the tables name."""
    place = tmp_path_factory.mktemp("options")
    (place / "dated.jinja").write_text(DATED)
    rows = [r | {"question": f"{r['prompt']} again", "note": "Be brief."} for r in pair_rows()]
    plain = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "no"} for i in range(4)]
    bad, lists = {"prompt": "p", "chosen": "a", "rejected": "a"}, list_rows()
    files = {
        "pairs": rows, "plain": plain, "lists": lists, "flawed": [*rows, {**bad, "view": "full"}],
        "held": [{**r, "prompt": f"new {r['prompt']}"} for r in pair_rows(3)],
        "full": [r for r in rows if r["view"] == "full"],
        "bare": [r for r in rows if r["view"] == "bare"][:4],
        "flawedlists": [*lists, {**lists[0], "relevance": []}],
        "heldlists": [{**r, "prompt": f"new {r['prompt']}"} for r in lists],
    }  # fmt: skip
    for name, content in files.items():
        write(place / f"{name}.jsonl", content)
    for name, seed in (("hf", 0), ("hf2", 1)):
        tiny_model(seed, **SHAPE).save_pretrained(place / name)
        tiny_tokenizer().save_pretrained(place / name)
    lora = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model(0, **SHAPE), lora).save_pretrained(place / "adapter")
    return place


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which a run may fill."""
    monkeypatch.chdir(folder)
    return folder


USUAL: dict[tuple[str, ...], dict[str, Any]] = {}


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
    if base not in USUAL:
        USUAL[base] = observed(files, base, monkeypatch)
    usual, changed = USUAL[base], observed(files, (*base, word), monkeypatch)
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
    with monkeypatch.context() as patched:
        count_calls(patched, calls)
        hear_wandb(patched, calls)
        try:
            train.main(config)
        except BvrankError as error:
            return {"error": str(error)}
    return {"calls": calls, **left(place)}


def count_calls(patched: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """How often the head and the layers run: what only saves memory shows here."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

    from bvrank.scoring.scorer import Scorer

    patched.setattr("bvrank.sampling.pairs.generate", sampler(calls))
    for owner, name in ((Scorer, "_logits"), (Qwen3MLP, "forward")):
        real = getattr(owner, name)

        def counted(self: Any, *args: Any, real: Any = real, name: str = name) -> Any:
            calls[name] += 1
            return real(self, *args)

        patched.setattr(owner, name, counted)


def hear_wandb(patched: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """How wandb is begun; nothing of it runs."""
    import wandb

    def begin(**asked: Any) -> Any:
        settings = asked.pop("settings")
        for varying in ("config", "id", "dir"):
            del asked[varying]
        asked |= {"timeouts": (settings.init_timeout, settings.finish_timeout)}
        calls[f"wandb {sorted(asked.items())} {settings.api_key}"] += 1
        return MagicMock(offline=True)

    patched.setenv("WANDB_API_KEY", "a" * 40)
    patched.setenv("OTHER_KEY", "b" * 40)
    patched.setattr(wandb, "init", begin)


def sampler(calls: Counter[str]) -> Any:
    """In place of sampling: right and wrong answers in turn; what is asked for is counted."""
    tokenizer = tiny_tokenizer()

    def generate(
        model: Any, prompts: Any, sampling: Sampling, *, seed: int, **_: Any
    ) -> list[list[Sample]]:
        calls[f"{len(prompts)} prompts, {sampling}, seed {seed}, {prompts[0]}"] += 1
        return [[answered(ids, turn) for turn in range(sampling.n)] for ids in prompts]

    def answered(prompt: list[int], turn: int) -> Sample:
        digits = tokenizer.decode(prompt).partition("user\n")[2].partition("=?")[0]
        answer = sum(map(int, digits.split("+"))) + turn % 2
        thought = "" if UNTHINK_ID in prompt else "<think>\nso\n</think>\n\n"
        ids = tokenizer(f"{thought}{answer}<|im_end|>")["input_ids"]
        return Sample(tuple(ids), -1.0, True)

    return generate


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
        policy = [read(p) for p in run.glob("checkpoints/*/policy/*r_config.json")]
        policy += [read(p) for p in run.glob("checkpoints/*/policy/config.json")]
        said = [(e["before"], e["after"]) for e in read_jsonl(run / "examples.jsonl")[0]]
        found["figures"].append((figures, summary | {"next": ""}, told, policy, said))
    for store in ("store", "other"):
        found["store"].update(str(Path(store, p).parent) for p in relative(place / store))
    return found


def relative(folder: Path) -> Iterator[str]:
    """Files below a folder, but for those with the time in their name."""
    timed = ("wandb", "tensorboard")
    paths = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return (str(p) for p in paths if p.parts[0] not in timed)


@pytest.mark.parametrize("room", ROOM)
def test_no_key_is_missing_here(room: str) -> None:
    group, _, option = room.partition("=")
    config = frozen(composed("train", [*QUICK, *ROOM[room]]))
    if not option:
        known = {"objective", "data", "engine", "model", "experiment", "tracker"}
        config = {k: v for k, v in config.items() if k not in known}
    else:
        config = config[group]
    keys = {k for k in flatten(config) if not k.endswith("_target_")}
    covered = set(OTHER[room]) | set(ELSEWHERE if not option else ())
    opened = {"optimizer.options", "schedule"}
    assert {k for k in keys if not k.startswith(("optimizer.options", "schedule."))} - opened == (
        covered - opened
    )
