"""What `bvrank evaluate` is told and nothing follows: keys of a policy where none is loaded, keys
of responses where none are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from bvrank.commands.compose import composed
from bvrank.commands.origin import unheeded
from bvrank.errors import ConfigError
from bvrank.paths import conf_dir
from bvrank.run.identity import flatten

DRAWN = ("n", "modes", "sampler")  # keys that responses alone follow


def draws(task: Any) -> bool:
    """Whether a task draws responses, and so follows DRAWN."""
    return bool(getattr(task, "draws", task.needs != "nothing"))


def check_heeded(config: Mapping[str, Any], tasks: Iterable[Any], weights: bool) -> None:
    """ConfigError for a key that no task follows; `weights`: whether a policy is loaded."""
    if not weights and (key := unheeded(config, "evaluate")):
        raise ConfigError("has no effect: no policy is loaded here", where=key,
                          repair="Leave it out.")  # fmt: skip
    if not any(map(draws, tasks)) and (key := _undrawn(config)):
        raise ConfigError("has no effect: no response is drawn here", where=key,
                          repair="Leave it out.")  # fmt: skip


def _undrawn(config: Mapping[str, Any]) -> str | None:
    """The first key of DRAWN that is not as it is by default, with this model."""
    option = _option(config["model"])
    words = [] if option is None else [f"model={option}"]
    usual: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(composed("evaluate", words), list(DRAWN)), resolve=True
    )
    for key in DRAWN:
        if key == "sampler" and option is None:
            continue  # somebody's own model: its recipe is not known
        given, own = flatten({key: config[key]}), flatten({key: usual[key]})
        if odd := next((k for k in given if given[k] != own.get(k)), None):
            return odd.removesuffix("._target_")
    return None


def _option(node: Mapping[str, Any]) -> str | None:
    """The word of model=... that gives such a node."""
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        found = yaml.safe_load(path.read_text("utf-8"))
        if found.get("model", found)["_target_"] == node["_target_"]:
            return path.stem
    return None
