"""Several tasks by one word: `suite=math`, `suite=[aime24,gsm8k]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import MISSING, OmegaConf, open_dict

from bvrank.commands.compose import composed
from bvrank.errors import ConfigError, did_you_mean
from bvrank.paths import conf_dir
from bvrank.run.identity import flatten


def task_nodes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> node of every task that is asked for: those of `suite`, each with what `tasks` says
    of it, else `task` alone. ConfigError for a name that is none."""
    found = _nodes(config)
    return {name: _with_pass_at(node, config["n"]) for name, node in found.items()}


def clipped(config: Mapping[str, Any]) -> dict[str, str]:
    """Name -> remark on the tasks whose own pass@k is of more responses than are drawn."""
    n, found = config["n"], {}
    for name, node in _nodes(config).items() if n is not None else ():
        if "pass_at" in node and node["pass_at"] is None and n < (node.get("n") or 0):
            told = f"pass@{n}" if n > 1 else "no pass@k"
            found[name] = f"{told} in place of the task's own pass@{node['n']}, as n={n}"
    return found


def _with_pass_at(node: Mapping[str, Any], n: Any) -> dict[str, Any]:
    """The node with what a null of its pass_at means: its n, clipped to what is drawn."""
    drawn = [k for k in (node.get("n"), n) if isinstance(k, int)]
    if "pass_at" not in node or node["pass_at"] is not None or not drawn:
        return dict(node)
    return {**node, "pass_at": [min(drawn)] if min(drawn) > 1 else []}


def _nodes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes as they are written."""
    suite, changes = config["suite"], config["tasks"]
    if suite is None:
        if changes:
            raise ConfigError("has no effect without a suite", where="tasks",
                              repair="Write task.<key>=... of a single task.")  # fmt: skip
        return {str(config["task"].get("name", "task")): config["task"]}
    names = _names(suite)
    if odd := [name for name in changes if name not in names]:
        raise ConfigError("is no task of this suite", where=f"tasks.{odd[0]}",
                          repair=did_you_mean(odd[0], names))  # fmt: skip
    nodes = {name: _merged(_node(name, config), changes.get(name, {})) for name in names}
    for name, node in nodes.items():
        if missing := [key for key, value in flatten(node).items() if value == MISSING]:
            raise ConfigError("needs a value", where=f"tasks.{name}.{missing[0]}",
                              repair=f"Write tasks.{name}.{missing[0]}=...")  # fmt: skip
    return nodes


def _names(suite: Any) -> list[str]:
    known = sorted(p.stem for p in (conf_dir() / "suites").glob("*.yaml"))
    if isinstance(suite, str):
        if suite not in known:
            there = (conf_dir() / "task" / f"{suite}.yaml").is_file()
            raise ConfigError(
                f"there is no suite '{suite}'", where="suite",
                repair=f"It is a task: task={suite}, or suite=[{suite}] beside others." if there
                else did_you_mean(suite, known),
            )  # fmt: skip
        suite = yaml.safe_load((conf_dir() / "suites" / f"{suite}.yaml").read_text("utf-8"))
    tasks = sorted(p.stem for p in (conf_dir() / "task").glob("*.yaml"))
    for name in suite if isinstance(suite, list) and suite else [None]:
        if name not in tasks:
            raise ConfigError(f"there is no task {name!r}", where="suite",
                              repair=did_you_mean(str(name), tasks))  # fmt: skip
    if len(set(suite)) < len(suite):
        raise ConfigError("names a task twice", where="suite")
    return [str(name) for name in suite]


def _node(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a task as the command line would compose it, beside the rest of the config; what
    has no value yet is MISSING."""
    found = composed("evaluate", [f"task={name}"])
    with open_dict(found):  # a group that is null by default, as judge, is no key of it yet
        for key in config.keys() - {"task"}:
            found[key] = config[key]
    plain: Any = OmegaConf.to_container(found["task"], resolve=True)
    return dict(plain)


def _merged(node: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """`node` with the values of `changes`, which are checked when it is built."""
    found = dict(node)
    for key, value in changes.items() if isinstance(changes, Mapping) else ():
        inner = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if inner else value
    return found
