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


def check_heeded(config: Mapping[str, Any], tasks: Iterable[Any], weights: bool, run: bool
                 ) -> None:  # fmt: skip
    """ConfigError for a key that no task follows; `weights`: whether a policy is loaded, `run`:
    whether it is a run's, which has its own model."""
    if run and (key := unheeded(config, "evaluate", ("model",))):
        raise ConfigError("has no effect beside run=..., which has its own model", where=key,
                          repair="Leave one of them out.")  # fmt: skip
    if not weights and (key := unheeded(config, "evaluate")):
        raise ConfigError("has no effect: no policy is loaded here", where=key,
                          repair="Leave it out.")  # fmt: skip
    if not any(map(draws, tasks)) and (key := _undrawn(config)):
        raise ConfigError("has no effect: no response is drawn here", where=key,
                          repair="Leave it out.")  # fmt: skip


def _undrawn(config: Mapping[str, Any]) -> str | None:
    """The first key of DRAWN that has another value than any model's recipe gives it: somebody's
    own option may have another recipe than ours of its class, and of a class of somebody's own
    none is known."""
    options = {path.stem: yaml.safe_load(path.read_text("utf-8"))
               for path in sorted((conf_dir() / "model").glob("*.yaml"))}  # fmt: skip
    ours = {node.get("model", node)["_target_"] for node in options.values()}
    keys = DRAWN if config["model"]["_target_"] in ours else DRAWN[:-1]
    given = {k: v for key in keys for k, v in flatten({key: config[key]}).items()}
    odd = list(given)
    for option in options:
        usual: Any = OmegaConf.to_container(
            OmegaConf.masked_copy(composed("evaluate", [f"model={option}"]), list(DRAWN)),
            resolve=True,
        )
        own = flatten(usual)
        odd = [k for k in odd if given[k] != own.get(k)]
    return odd[0].removesuffix("._target_") if odd else None
