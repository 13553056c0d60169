"""What the commands need of Hydra besides hydra.main: overrides, composing, and freezing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from bvrank.paths import conf_dir

OPEN = ("schedule.", "optimizer.options.")
"""Nodes without fixed keys: an override below them adds where there is nothing to override."""

VERSION_BASE: dict[str, Any] = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
"""Hydra 1.3 warns when it is left out, 1.4 when it is given."""


def opened(override: str) -> str:
    """`schedule.alpha=[1,0]` as `++schedule.alpha=[1,0]`; everything else as it is."""
    return f"++{override}" if override.startswith(OPEN) else override


def composed(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of `bvrank <command> <overrides>`, with Hydra's own node, unresolved."""
    with warnings.catch_warnings(), initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        warnings.simplefilter("ignore")
        return compose(command, [opened(o) for o in overrides], return_hydra_config=True)


def frozen(config: DictConfig, searchpath: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved plain dict that a command gets; packages of `searchpath` become trusted.

    Raises OmegaConf's errors for missing values and interpolations that lead nowhere.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    plain.pop("hydra", None)
    if "trusted" in plain:
        plain["trusted"] = [*plain["trusted"], *_packages(searchpath)]
    return dict(plain)


def flat_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a plain config, dotted; a group's node counts too."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from flat_keys(value, f"{prefix}{key}.")


def _packages(searchpath: Sequence[str]) -> list[str]:
    places = [path.removeprefix("pkg://") for path in searchpath if path.startswith("pkg://")]
    return sorted({place.split(".")[0] for place in places})
