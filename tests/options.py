"""Every key of `bvrank train` with another value, and what has to stand around it."""

from __future__ import annotations

from tests.commands.fast import TINY

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
TRACED = ("objective.alpha=auto", "data.path=traces.jsonl", "batch=4")
HELD, FEW = "data.eval_path=held.jsonl", "model.teach.problems=20"
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "seed": ("1",), "steps": ("3",), "batch": ("3",), "micro": ("1",), "micro_tokens": ("40",),
        "optimizer.name": ("SGD",), "optimizer.lr": ("0.02",),
        "optimizer.options": ("{weight_decay: 0.5}",),
        "scheduler.shape": ("linear", "steps=4"), "scheduler.warmup": ("1.0",),
        "schedule": ("{alpha: [1.0, 0.0]}",), "max_grad_norm": ("0.01", "optimizer.name=SGD"),
        "precision": ("fp64",), "activation_checkpointing": ("true",),
        "compile": ("true", "precision=fp64"),  # it works: test_policy.py
        "scoring.layout": ("padded",), "scoring.chunk": ("2",), "scoring.reference": ("live",),
        "scoring.unshifted": ("true",), "trainer.reduction": ("microbatch_sum",),
        "probe.gradients.every": ("1", "probe.gradients.groups=4"),
        "probe.gradients.groups": ("5", *TRACED), "probe.gradients.dimension": ("99", *TRACED),
        "auto.every": ("1", *TRACED), "auto.memory": ("0.2", *TRACED, "auto.every=1", "steps=4"),
        "auto.min": ("1.0", *TRACED), "auto.max": ("0.0", *TRACED),
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
        "device": ("cuda",), "stage": ("3",), "offload": ("all",),
        "ds": ("{zero_optimisation: {stage: 1}}",),
    },
    "tracker=wandb": {
        "wandb.project": ("mine",), "wandb.entity": ("us",), "wandb.group": ("here",),
        "wandb.tags": ("[a]",), "wandb.mode": ("disabled",), "wandb.timeout": ("5",),
        "wandb.api_key_env": ("OTHER_KEY", "tracker.wandb.mode=online"),
    },
    "tracker=tensorboard": {},
}  # fmt: skip

# Further values of keys that have one above, each of which does something of its own.
FURTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "objective=bvpo": {"alpha": ("auto", *TRACED[1:])},
    "": {"scoring.reference": ("adapter_off", "model.lora.r=2")},
}


def override(room: str, key: str, value: str) -> str:
    """The word that gives a key of the room's group that value."""
    group = room.partition("=")[0]
    word = f"{group}.{key}={value}" if group else f"{key}={value}"
    return f"++{word}" if value.startswith("{") else word
