"""What the arms of a suite share: a model of random weights, and rows of token ids, in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bvrank.data.encoding import encode
from bvrank.data.pairs import Pairs
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, DataError, did_you_mean
from bvrank.models.corpus import Corpus
from bvrank.models.scratch import Scratch
from bvrank.records import BARE, FULL, Encoded, Example

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads", "head_dim")  # fmt: skip
Row = dict[str, list[list[int]]]  # view -> ids of prompt, chosen, rejected


def model(shape: dict[str, Any], seed: int) -> Any:
    """A Qwen3 of random weights. ConfigError when the shape is none."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return Qwen3ForCausalLM(Qwen3Config(**shape))
        except Exception as error:  # transformers checks a shape in many ways of its own
            raise _no_model(error) from error


def check_shape(shape: Mapping[str, Any]) -> None:
    """Before anything is made: ConfigError for a key that Qwen3 does not have, and for sizes that
    do not fit each other, which else only a forward pass tells."""
    from transformers import Qwen3Config

    usual = Qwen3Config().to_dict()
    for name in shape:
        if name not in usual:
            raise ConfigError("there is no such key", where=f"shape.{name}",
                              repair=did_you_mean(str(name), usual))  # fmt: skip
    for name in SIZES:
        if isinstance(shape.get(name), int) and shape[name] < 1:
            raise ConfigError(f"must be at least 1, got {shape[name]}", where=f"shape.{name}")
    heads, groups = (shape.get(k, usual[k]) for k in ("num_attention_heads", "num_key_value_heads"))
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        raise ConfigError(f"must be a multiple of num_key_value_heads={groups}, got {heads}",
                          where="shape.num_attention_heads")  # fmt: skip
    with torch.device("meta"):  # all of it, but sizes alone
        model(dict(shape), 0)
    one = {**shape, "num_hidden_layers": 1, "vocab_size": 4, "pad_token_id": None}
    if shape.get("layer_types"):
        one["layer_types"] = shape["layer_types"][:1]
    try:
        with torch.no_grad():
            model(one, 0)(torch.zeros(1, 2, dtype=torch.int64), use_cache=False)
    except ConfigError:
        raise
    except Exception as error:  # whatever the layers trip over
        raise _no_model(error) from error


def _no_model(error: Exception) -> ConfigError:
    return ConfigError(f"makes no model ({' '.join(str(error).split())})", where="shape")


def saved_model(shape: dict[str, Any], seed: int, tokenizer: Any, folder: Path) -> str:
    """The folder, with weights and tokenizer."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    made = model(shape, seed)
    if tokenizer is not None:
        made.config.pad_token_id = tokenizer.pad_token_id
        tokenizer.save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


def real_rows(path: str, vocabulary: int, views: Sequence[str], max_length: int, seed: int,
              count: int, batch: int, store: Path) -> tuple[list[Row], Any]:  # fmt: skip
    """At most `count` rows of a file of pairs in an order drawn by `seed`, whole batches of them so
    that every library begins anew at the same step; and a BPE trained on the file. The bare view is
    the answers without their traces. DataError when there is no batch."""
    bare: Any = "reuse" if BARE in views else None
    source = Pairs(path, bare_from=bare)
    examples = [row for row in source.rows() if isinstance(row, Example)]
    if BARE in views:
        examples = _thinking(examples, path)

    def texts() -> Any:
        for example in examples:
            yield from (m.content for m in example.prompt)
            yield from (t for c in example.candidates for t in (c.trace, c.answer) if t)

    tokenizer = Scratch(vocabulary=vocabulary).tokenizer(Corpus(texts, store))
    kept, _ = encode(examples, Template(tokenizer), views=views, max_length=max_length,
                     overlong="truncate_trace_middle", seed=seed)  # fmt: skip
    whole = [tree for tree in kept if {b.view for b in tree.branches} == set(views)]
    if len(whole) < batch:
        told = f"has {len(whole)} pairs with {' and '.join(views)}, a step takes {batch}"
        raise DataError(told, where=path)
    order = np.random.default_rng(seed).permutation(len(whole))[:count]
    order = order[: len(order) - len(order) % batch]
    return [row_of(whole[i], views) for i in order], tokenizer


def _thinking(examples: list[Example], path: str) -> list[Example]:
    """Those with a trace; the others, which have nothing to leave out, are counted on stderr.
    DataError when there is none."""
    found = [e for e in examples if any(c.trace for c in e.candidates)]
    if examples and not found:
        raise DataError(f"none of its {len(examples)} pairs has a trace, which BVPO leaves out",
                        where=path, repair="Give answers as {think, answer} or with <think> in "
                        "them, or measure suite=pairs.")  # fmt: skip
    if len(found) < len(examples):
        left = len(examples) - len(found)
        print(f"bench: left out: {left} of {len(examples)} pairs, without a trace", file=sys.stderr)
    return found


def random_rows(count: int, vocabulary: int, prompt: int, answer: int, seed: int) -> list[Row]:
    """Pairs of random ids, all of one size."""
    rng = np.random.default_rng(seed)

    def ids(tokens: int) -> list[int]:
        found: list[int] = rng.integers(3, vocabulary, tokens).tolist()
        return found

    return [{FULL: [ids(prompt), ids(answer), ids(answer)]} for _ in range(count)]


def row_of(tree: Encoded, views: Sequence[str]) -> Row:
    """Prompt, chosen and rejected of each view; what both answers begin with is no prompt."""
    paths, row = tree.paths(), {}
    for view in views:
        own = sorted((b for b in tree.branches if b.view == view), key=lambda b: -b.relevance)[:2]
        (leaf,), *_ = (b.segments for b in own)
        prompt = [int(i) for s in paths[leaf][:-1] for i in tree.segments[s].ids]
        row[view] = [prompt, *(tree.segments[b.segments[0]].ids.tolist() for b in own)]
    return row


def saved_rows(rows: Sequence[Row], folder: Path) -> str:
    """The file."""
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)
