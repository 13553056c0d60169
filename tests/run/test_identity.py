import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.run.identity import (
    ABSENT,
    IGNORED,
    canonical,
    differences,
    flatten,
    group_name,
    label,
    plain,
    run_name,
    without_seeds,
)

CONFIG = {
    "seed": 3,
    "steps": 120,
    "max_grad_norm": 1.0,
    "objective": {"_target_": "bvrank.objectives.bvpo.BVPO", "alpha": 0.5},
    "data": {"_target_": "bvrank.data.pairs.Pairs", "path": "a.jsonl"},
    "schedule": {},
    "eval": {"every": 0, "rows": None},
    "checkpoint": {"every": 50, "keep": 2},
    "log": {"every": 1},
    "examples": {"count": 4, "max_new_tokens": 64},
    "outputs": "outputs",
    "store": None,
    "resume": False,
    "force": False,
    "name": None,
}
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers())


def named(config, content=""):
    objective, data = config["objective"]["_target_"], config["data"]["_target_"]
    return run_name(config, objective=objective, data=data, content=content)


def changed(config, key, value):
    *parents, last = key.split(".")
    copy = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
    node = copy
    for parent in parents:
        node = node[parent]
    node[last] = value
    return copy


def test_name_says_objective_data_and_seed():
    assert re.fullmatch(r"bvpo-pairs-s3-[0-9a-f]{8}", named(CONFIG))


def test_labels_and_targets_name_the_same_run():
    assert run_name(CONFIG, objective="bvpo", data="pairs") == named(CONFIG)
    assert label("mylab.objectives.My-Thing.Loss") == "my_thing"
    assert label("a.b.../x") == "unnamed" or "/" not in label("a.b.../x")


@given(st.sampled_from(IGNORED), VALUES)
def test_ignored_keys_leave_the_name(key, value):
    assert named({**CONFIG, key: value}) == named(CONFIG)


MATTERING = [k for k in flatten(CONFIG) if k.split(".")[0] not in IGNORED]


@given(st.sampled_from(MATTERING), VALUES)
def test_every_other_key_changes_it(key, value):
    other = changed(CONFIG, key, str(value) if key.endswith("_target_") else value)
    if canonical(other) != canonical(CONFIG):
        assert named(other) != named(CONFIG)


def test_a_key_nobody_knows_matters():
    assert named({**CONFIG, "new": 0}) != named(CONFIG)


def test_content_of_the_data_changes_it():
    assert len({named(CONFIG), named(CONFIG, "a"), named(CONFIG, "b")}) == 3


def test_order_of_keys_and_way_of_writing_a_number_do_not():
    turned = dict(reversed(CONFIG.items()))
    assert named(turned) == named(CONFIG)
    assert named({**CONFIG, "max_grad_norm": 1}) == named(CONFIG)
    assert named({**CONFIG, "max_grad_norm": True}) != named(CONFIG)


def test_flatten_keeps_empty_nodes_and_lists_as_leaves():
    assert flatten({"a": {"b": [1, 2], "c": {}}, "d": 1}) == {"a.b": [1, 2], "a.c": {}, "d": 1}


def test_plain_types():
    assert plain({1: (Path("x"), float)}) == {"1": ["x", str(float)]}


@pytest.mark.parametrize(
    ("key", "value", "matters"),
    [
        ("steps", 200, True),
        ("objective.alpha", 1, True),
        ("eval.rows", 5, True),
        ("schedule.alpha", [1, 0], True),
        ("checkpoint.every", 10, False),
        ("log.every", 10, False),
        ("examples.count", 8, False),
    ],
)
def test_differences_by_kind(key, value, matters):
    other = changed(CONFIG, key, value)
    found = differences(CONFIG, other, matters=matters)
    assert (key, value) in [(k, new) for k, _, new in found]
    assert differences(CONFIG, other, matters=not matters) == []


def test_differences_name_what_is_absent_and_tell_true_from_one():
    assert differences({}, {"a": 1}, matters=True) == [("a", ABSENT, 1)]
    assert differences({"a": 1}, {"a": True}, matters=True) == [("a", 1, True)]
    assert differences({"a": 1}, {"a": 1.0}, matters=True) == []


@pytest.mark.parametrize("key", ["outputs", "store", "resume", "force", "name"])
def test_keys_that_find_the_folder_are_no_difference(key):
    other = {**CONFIG, key: "x"}
    assert not differences(CONFIG, other, matters=True)
    assert not differences(CONFIG, other, matters=False)


def test_seeds_that_follow_the_run_do_not_part_it() -> None:
    followed = without_seeds({"data": {"seed": 3, "n": 1}, "model": {"teach": {"seed": 3}}}, 3)
    assert followed == {"data": {"n": 1}, "model": {"teach": {}}}
    assert without_seeds({"data": {"seed": 0}}, 3) == {"data": {"seed": 0}}


def test_seeds_of_a_configuration_share_a_group_and_nothing_else_does() -> None:
    config = {
        "seed": 0, "outputs": "a", "objective": {"_target_": "x.dpo.DPO", "beta": 0.1},
        "data": {"_target_": "x.pairs.Pairs", "seed": 0},
    }  # fmt: skip
    other = config | {"seed": 1, "outputs": "b", "data": {"_target_": "x.pairs.Pairs", "seed": 1}}
    name = group_name(config)
    assert name.startswith("dpo-pairs-")
    assert group_name(other) == name
    assert group_name(config | {"steps": 3}) != name
    assert group_name(config | {"data": {"_target_": "x.pairs.Pairs", "seed": 7}}) != name
    assert group_name({}).startswith("unnamed")
