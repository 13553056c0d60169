"""Every config composes, and everything it names can be built."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bvrank.commands.build import build, trackers_of
from bvrank.commands.compose import composed, frozen
from bvrank.commands.settings import split_intake, train_settings
from bvrank.data.mix import worlds
from bvrank.errors import BvrankError, ConfigError
from tests.commands.line import ROOT

CONF = ROOT / "conf"
COMMANDS = sorted(p.stem for p in CONF.glob("*.yaml") if p.stem != "hydra_defaults")
TRAIN_GROUPS = ("objective", "data", "engine", "model", "experiment", "tracker")
OPTIONS = [(g, p.stem) for g in TRAIN_GROUPS for p in sorted((CONF / g).glob("*.yaml"))]
# What a user has to add to an option before it runs.
NEEDED = {
    ("data", "pairs"): ["data.path=pairs.jsonl"],
    ("data", "lists"): ["data.path=lists.jsonl"],
    ("data", "mix"): [
        "data.parts.thinking.source.path=a.jsonl",
        "data.parts.nothinking.source.path=b.jsonl",
    ],
    ("model", "hf"): ["model.path=some-model"],
    ("experiment", "irpo_official"): ["data.path=lists.jsonl"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_uses_hydra_the_same_way(command: str) -> None:
    config = composed(command, partial=True)
    assert config.hydra.output_subdir is None
    assert config.hydra.help.header.strip()
    assert config.hydra.help.footer.strip()


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda word: str(word))
def test_every_option_composes_and_is_built(group: str, option: str) -> None:
    config = frozen(composed("train", [f"{group}={option}", *NEEDED.get((group, option), [])]))
    train_settings(config)
    build(config["objective"], "objective")
    build(config["engine"], "engine")
    accepted(config, group)


def accepted(config: dict[str, Any], group: str) -> None:
    """The node of `group` fits its constructor; whether its files exist is another matter."""
    node = split_intake(config[group])[1] if group == "data" else config.get(group)
    if group == "tracker":
        trackers_of(node or {})
    if group in ("experiment", "tracker"):
        return
    try:
        build(node, group)
    except ConfigError:
        raise
    except BvrankError as error:
        assert "some-model" in str(error) or ".jsonl" in str(error)


REWARDS = {  # what a user has to add to a reward before it can be built
    "model": {"path": "some-model"}, "python": {"function": "tests.test_configs.score"},
    "judge": {"server": {"model": "some-judge"}},
}  # fmt: skip


def score(rows: list[Any]) -> list[float]:
    return [0.0 for _ in rows]


@pytest.mark.parametrize("option", sorted(p.stem for p in (CONF / "reward").glob("*.yaml")))
def test_every_reward_is_built(option: str) -> None:
    """With every key of its constructor in the file, but for those that a judge's server has."""
    own = OmegaConf.load(CONF / "reward" / f"{option}.yaml")
    node: Any = OmegaConf.to_container(OmegaConf.merge(own, REWARDS.get(option, {})))
    try:
        reward = build(node, "reward", ["tests"])
    except ConfigError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise
    assert set(node) - {"_target_"} == {f.name for f in fields(reward)}
    assert reward.needs_gold is (option in ("arithmetic", "math"))


DEFECTS = {
    "scoring.unshifted": (True, False),
    "objective.leaky_self_mask": (True, False),
    "trainer.reduction": ("microbatch_sum", "global"),
    "objective.reduce": ("mean", "sum"),
    "objective.ties": ("order", "averaged"),
    "data.context": ("inlist", "independent"),
    "data.separator": (",", None),
}


@pytest.mark.parametrize("key", DEFECTS)
def test_defects_of_the_official_code_are_set_together_or_alone(key: str) -> None:
    """All by one experiment, none by default, and each can be put in or taken out alone."""
    wrong, right = DEFECTS[key]
    lists = ["data=lists", "data.path=lists.jsonl", "objective=irpo", "objective.form=official"]
    official = ["experiment=irpo_official", "data.path=lists.jsonl"]

    def found(words: list[str]) -> dict[str, Any]:
        config = frozen(composed("train", words))
        train_settings(config)
        build(config["objective"], "objective")
        return {k: OmegaConf.select(OmegaConf.create(config), k) for k in DEFECTS}

    all_wrong = {k: w for k, (w, _) in DEFECTS.items()}
    all_right = {k: r for k, (_, r) in DEFECTS.items()}
    assert found(official) == all_wrong and found(lists) == all_right
    written = "null" if right is None else right
    assert found([*official, f"{key}={written}"]) == all_wrong | {key: right}
    alone = f"'{wrong}'" if wrong == "," else wrong
    others = all_right | ({"data.context": "inlist"} if wrong == "," else {})
    more = ["data.context=inlist"] if wrong == "," else []
    assert found([*lists, *more, f"{key}={alone}"]) == others | {key: wrong}


def test_a_recipe_follows_its_loss_and_leaves_others_theirs() -> None:
    """The beta that the tiny model needs is that of a DPO-like loss, alone or inside a mix."""

    def betas(*words: str) -> tuple[float, ...]:
        objective = build(frozen(composed("train", list(words)))["objective"], "objective")
        mixed = hasattr(objective, "alpha")
        return tuple(objective.on(v).beta for v in ("full", "bare")) if mixed else objective.beta

    inner = "objective@objective.loss"
    assert betas() == (2.0, 2.0) and betas("objective=dpo") == 2.0
    assert betas("objective=ipo") == 0.1 and betas(f"{inner}=ipo") == (0.1, 0.1)
    assert betas(f"{inner}=hinge") == (2.0, 2.0) and betas(f"{inner}=orpo") == (0.1, 0.1)
    assert betas("objective.beta=0.5") == (0.5, 0.5)
    assert betas("objective.loss.beta=0.1") == (0.1, 0.1)
    assert betas("objective.loss.beta=0.1", "objective.bare_beta=0.3") == (0.1, 0.3)
    files = ("data=pairs", "data.path=pairs.jsonl")
    assert betas(*files) == (0.1, 0.1) and betas(*files, "objective=dpo") == 0.1


def test_marginal_has_traces_to_sum_out_on_the_arithmetic_world() -> None:
    data = frozen(composed("train", ["objective=marginal"]))["data"]
    assert (data["samples"], data["traces"]) == (16, 8)
    assert frozen(composed("train", []))["data"]["traces"] == 1


def test_the_union_control_is_dpo_over_twice_the_pairs() -> None:
    union, bvpo = (frozen(composed("train", w)) for w in (["experiment=union"], []))
    assert union["batch"] == 2 * bvpo["batch"]
    assert build(union["objective"], "objective") == build(bvpo["objective"]["loss"], "objective")
    mix = build(split_intake(union["data"])[1], "data")
    assert worlds(mix) == [build(split_intake(bvpo["data"])[1], "data")]
    assert [part.slot for part in mix.parts.values()] == ["full"]
    files = ["data=mix", "data.parts.thinking.source.path=a", "data.parts.nothinking.source.path=b"]
    over_files = frozen(composed("train", ["experiment=union", *files]))
    assert [*over_files["data"]["parts"]] == ["thinking", "nothinking"] and over_files[
        "batch"
    ] == 32


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_every_file_begins_with_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    title = next(line for line in lines if not line.startswith("# @package"))
    assert title.startswith("# ") and len(title) > 10, title


REPLAY = ("judge=replay", "judge.path=x")
CHOSEN = {"alpaca_eval": REPLAY, "arena_hard": REPLAY,
          "arena_hard_v2": (*REPLAY, "judge.answers_path=y"),
          "preference": ("task.pairs.path=pairs.jsonl",),
          "ranking": ("task.lists.path=lists.jsonl",),
          "ranking_run": ("task.run_file=x", "task.qrels=y")}  # fmt: skip


@pytest.mark.parametrize("option", sorted(p.stem for p in (CONF / "task").glob("*.yaml")))
def test_every_task_is_built_under_its_own_name(option: str) -> None:
    """With every key of its constructor in the file."""
    node: Any = frozen(composed("evaluate", [f"task={option}", *CHOSEN.get(option, ())]))["task"]
    try:
        task = build(node, "task")
    except ConfigError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise
    assert task.name == option and task.needs in ("responses", "policy", "nothing")
    assert set(node) - {"_target_"} == {f.name for f in fields(task)}
