from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from bvrank.commands.compose import composed, flat_keys
from bvrank.commands.options import groups, holders, keys_of, readers, told
from tests.commands.line import ROOT


@pytest.mark.parametrize(
    ("command", "some"),
    [("convert", {"from"}), ("sample", {"sampler", "prompts", "reward", "model", "launcher"}),
     ("train", {"objective", "data", "engine", "launcher", "model", "experiment", "tracker"}),
     ("report", set())],
)  # fmt: skip
def test_the_groups_of_a_command(command: str, some: set[str]) -> None:
    assert set(groups(command)) == some


def test_what_an_option_is_said_to_hold_is_there_once_it_is_chosen() -> None:
    for option, keys in keys_of("sampler").items():
        config = composed("sample", [f"sampler={option}"])
        assert set(keys) <= set(flat_keys(OmegaConf.to_container(config, resolve=False)))
    for option, keys in keys_of("from").items():
        found = composed("convert", [f"from={option}", "path=a", "out=b"])["from"]
        assert set(keys) == {f"from.{k}" for k in found if k != "_target_"}
    assert "model.path" in keys_of("model")["hf"] and "optimizer.lr" not in keys_of("model")["hf"]
    assert keys_of("tracker")["wandb"]["tracker.wandb.mode"] == "offline"
    assert set(keys_of("objective")) == {p.stem for p in (ROOT / "conf/objective").glob("*.yaml")}


def test_who_holds_a_key() -> None:
    assert holders("min_gap", "convert") == {"from.min_gap": ["from=argilla", "from=ultrafeedback"]}
    assert holders("from.min_gap", "convert") == holders("min_gap", "convert")
    assert holders("from.kind", "convert") == {"from.kind": ["from=ultrafeedback"]}
    assert holders("kind.from", "convert") == holders("temperature", "convert") == {}


def test_options_that_want_a_path() -> None:
    assert readers("data") == ["lists", "pairs"] and readers("prompts") == ["file"]
    assert readers("model") == ["hf"] and readers("engine") == []


def test_long_lists_are_cut() -> None:
    assert told(["a"]) == "a has it" and told(["a", "b"]) == "a and b have it"
    assert told(["a", "b", "c"]) == "a, b and c have it"
    assert told([*"abcd"]) == "a, b, c and 1 other have it"
    assert told([*"abcde"]) == "a, b, c and 2 others have it"
