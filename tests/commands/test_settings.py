from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bvrank.commands.build import build
from bvrank.commands.compose import COMPOSING, composed, flat_keys, frozen
from bvrank.commands.hydra_errors import explain
from bvrank.commands.sections import Optimizer
from bvrank.commands.settings import (
    GROUPS,
    Intake,
    TrainSettings,
    split_intake,
    train_settings,
)
from bvrank.errors import BvrankError, ConfigError

PLAIN: Any = OmegaConf.to_container(composed("train"), resolve=False)
RESOLVED = frozen(composed("train"))
KEYS = sorted(k for k in flat_keys(PLAIN) if not k.startswith(("hydra", "model")))


def read(*overrides: str) -> TrainSettings:
    return train_settings(frozen(composed("train", overrides)))


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*overrides)
    return str(caught.value)


def test_the_defaults_of_the_file() -> None:
    found = read()
    assert (found.steps, found.batch, found.micro, found.per_forward(1)) == (90, 16, None, 16)
    assert (found.optimizer.name, found.optimizer.lr) == ("AdamW", 6e-5)
    assert (found.scheduler.shape, found.scheduler.warmup) == ("cosine", 0.1)


def test_the_schema_is_the_file_and_the_file_is_the_schema() -> None:
    groups = {*GROUPS, "hydra"}
    assert set(PLAIN) - groups == set(TrainSettings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("steps=0", "steps: must be at least 1, got 0"),
        ("examples.count=-1", "examples.count: must be at least 0, got -1"),
        ("examples.max_new_tokens=0", "examples.max_new_tokens: must be at least 1, got 0"),
        ("steps=1.5", "steps: must be a whole number, got 1.5"),
        ("seed=-1", "seed: must be at least 0, got -1"),
        ("seed=true", "seed: must be a whole number, got true"),
        ("batch=0", "batch: must be at least 1, got 0"),
        ("micro=0", "micro: must be at least 1, got 0"),
        (
            "micro=5",
            "micro: must divide batch=16, got 5. "
            "batch / micro is the number of accumulated forwards.",
        ),
        ("optimizer.lr=0", "optimizer.lr: must be greater than 0, got 0.0"),
        ("optimizer.lr=inf", "optimizer.lr: must be greater than 0, got inf"),
        ("optimizer.lr=nan", "optimizer.lr: must be greater than 0, got nan"),
        ("optimizer.options.lr=1", "optimizer.options.lr: is set already. Use optimizer.lr."),
        ("scheduler.warmup=2", "scheduler.warmup: must lie in [0, 1], got 2.0"),
        ("scheduler.warmup=nan", "scheduler.warmup: must lie in [0, 1], got nan"),
        (
            "scheduler.shape=step",
            "scheduler.shape: must be one of cosine, linear, constant, got 'step'",
        ),
        ("max_grad_norm=0", "max_grad_norm: must be greater than 0, got 0.0"),
        ("max_grad_norm=nan", "max_grad_norm: must be greater than 0, got nan"),
        ("precision=fp8", "precision: must be one of fp32, bf16, fp64, got 'fp8'"),
        ("scoring.chunk=0", "scoring.chunk: must be at least 1, got 0"),
        ("eval.every=-1", "eval.every: must be at least 0, got -1"),
        ("eval.rows=0", "eval.rows: must be at least 1, got 0"),
        ("checkpoint.keep=0", "checkpoint.keep: must be at least 1, got 0"),
        ("log.every=0", "log.every: must be at least 1, got 0"),
        ("log=null", "log: must be keys with values, got null"),
        (
            "name=a/b",
            "name: must be one folder's name, got 'a/b'. The folder above it is `outputs`.",
        ),
        ("name=..", "name: must be one folder's name, got '..'. The folder above it is `outputs`."),
        ("outputs=''", "outputs: must name a folder"),
        ("trusted=a", "trusted: must be a list (each text), got 'a'. Write trusted=[a]."),
        ("~steps", "steps: needs a value. Add steps=... to the command."),
        ("micro_tokens=0", "micro_tokens: must be at least 1, got 0"),
        ("+micros=1", "micros: there is no such key. Did you mean 'micro' or 'micro_tokens'?"),
    ],
)
def test_what_does_not_fit(override: str, line: str) -> None:
    assert refusal(override) == line


def test_a_budget_of_tokens_stands_alone() -> None:
    assert refusal("micro=4", "micro_tokens=100") == (
        "micro_tokens: says the same as micro. Leave one of the two out."
    )
    assert refusal("micro_tokens=100", "trainer.reduction=microbatch_sum") == (
        "trainer.reduction: needs micro-batches of one size. Use micro in place of micro_tokens."
    )


def test_going_on_contradicts_starting_anew() -> None:
    assert refusal("resume=true", "force=true").startswith("resume: contradicts force=true")


def test_no_clipping_is_infinity() -> None:
    assert read("max_grad_norm=inf").max_grad_norm == float("inf")


def test_micro_batches() -> None:
    assert read("batch=8", "micro=2").per_forward(1) == 2


def test_an_optimizer_is_a_class_of_torch() -> None:
    assert Optimizer("AdamW", 1e-3, {"betas": [0.9, 0.99]}).kind() is torch.optim.AdamW
    assert Optimizer("SGD", 1e-3, {"momentum": 0.9}).kind() is torch.optim.SGD


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("AdamX", {}, "optimizer.name: torch.optim has no optimizer 'AdamX'. Did you mean"),
        ("Optimizer", {}, "optimizer.name: torch.optim has no optimizer 'Optimizer'."),
        ("LBFGS", {}, "optimizer.name: LBFGS does not fit this trainer (LBFGS.step() missing"),
        ("SparseAdam", {}, "optimizer.name: SparseAdam does not fit this trainer"),
        ("AdamW", {"betaz": 1}, "optimizer.options.betaz: there is no such key. Did you mean 'bet"),
        ("AdamW", {"betas": [2.0, 0.9]}, "optimizer.options: Invalid beta parameter at index 0"),
        ("AdamW", {"eps": "x"}, "optimizer.options.eps: must be a number, got 'x'"),
        ("AdamW", {"params": 1}, "optimizer.options.params: there is no such key."),
    ],
)
def test_an_optimizer_that_does_not_fit(name: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Optimizer(name, 1e-3, options).kind()
    assert str(caught.value).startswith(line)


def test_the_common_keys_of_data_are_split_off() -> None:
    node = {"_target_": "x", "path": "y", "max_length": 8, "eval_fraction": 0.5}
    intake, rest = split_intake(node)
    assert intake == Intake(max_length=8, eval_fraction=0.5)
    assert rest == {"_target_": "x", "path": "y"}


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"max_length": 1}, "data.max_length: must be at least 2, got 1"),
        ({"eval_fraction": 1}, "data.eval_fraction: must lie in [0, 1), got 1.0"),
        ({"max_refused": 1.5}, "data.max_refused: must lie in [0, 1], got 1.5"),
        ({"overlong": "cut"}, "data.overlong: must be one of drop, error, truncate_trace_middle"),
        (
            {"eval_path": "x", "eval_fraction": 0.1},
            "data.eval_fraction: held-out rows come from data.eval_path already",
        ),
    ],
)
def test_common_keys_that_do_not_fit(node: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_intake(node)
    assert str(caught.value).startswith(line)


VALUES = st.one_of(
    st.integers(-3, 200).map(str),
    st.floats().map(str),
    st.sampled_from(["null", "true", "[]", "{}", "[1,2]", "{a:1}", "???", "${seed}", "${x}", "''"]),
    st.text(max_size=12),
    st.text("()[]{}=,:'\"\\$#~ ab1.", max_size=8),
)
OVERRIDES = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), VALUES),
    st.builds(
        "{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), st.sampled_from(KEYS), VALUES
    ),
    st.builds("{}={}".format, st.text("abc.steps+~@/", max_size=8), VALUES),
    st.builds("objective={}".format, st.sampled_from(["dpo", "irpo", "sft", "bvpo", "x", ""])),
)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def check(config: dict[str, Any]) -> None:
    """All that happens to a config between the command line and the first tensor."""
    found = train_settings(config)
    found.optimizer.kind()
    split_intake(config.get("data", {}))
    build(config.get("objective"), "objective", found.trusted)
    build(config.get("engine"), "engine", found.trusted)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3))
@settings(max_examples=500, deadline=None)
def test_no_value_of_a_setting_gives_a_traceback(values: dict[str, Any]) -> None:
    config = copy.deepcopy(RESOLVED)
    for key, value in values.items():
        *parents, last = key.split(".")
        node: Any = config
        for parent in parents:
            node = node[parent] if isinstance(node.get(parent), dict) else {}
        node[last] = value
    try:
        check(config)
    except BvrankError as error:
        assert str(error).strip()
        assert error.exit_code == 2


@given(st.lists(OVERRIDES, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_override_gives_a_traceback(overrides: list[str]) -> None:
    try:
        try:
            config = frozen(composed("train", overrides))
        except COMPOSING as error:
            raise explain(error, "train", overrides) from error
        check(config)
    except BvrankError as error:
        assert str(error).strip()
        assert error.exit_code == 2
