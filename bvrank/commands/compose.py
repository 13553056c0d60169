"""What the commands need of Hydra besides hydra.main: overrides, composing, and freezing."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bvrank.commands.inert import inert_loading
from bvrank.errors import ConfigError
from bvrank.paths import conf_dir

OPEN = ("schedule.", "optimizer.options.", "model.shape.", "engine.ds.", "shape.", "tasks.",
        "where.")  # fmt: skip
"""Nodes without fixed keys: an override below them adds where there is nothing to override."""

VERSION_BASE: dict[str, Any] = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
"""Hydra 1.3 warns when it is left out, 1.4 when it is given."""

COMPOSING = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    ModuleNotFoundError,
    TypeError,
    ValueError,
)
"""What composing raises when the command line or a config file is wrong (some of it by accident:
Hydra asserts, or trips over a value of the wrong type)."""


def opened(override: str) -> str:
    """`schedule.alpha=[1,0]` as `++schedule.alpha=[1,0]`, and so with `schedule={alpha:[1,0]}`;
    everything else as it is."""
    return f"++{override}" if _opens(override) else override


def written(override: str) -> str:
    """The override as the user wrote it, without the `++` of `opened`."""
    bare = override.removeprefix("++")
    return bare if _opens(bare) else override


def _opens(override: str) -> bool:
    key, _, value = override.partition("=")
    return override.startswith(OPEN) or (f"{key}." in OPEN and value[:1] == "{" and value != "{}")


def composed(command: str, overrides: Sequence[str] = (), partial: bool = False) -> DictConfig:
    """The config of `bvrank <command> <overrides>`, with Hydra's own node, unresolved.

    `partial` leaves out a group in which an option has yet to be chosen.
    """
    mode = RunMode.MULTIRUN if partial else RunMode.RUN
    check_searchpath(overrides)
    with (
        quiet_searchpath(),
        inert_loading(),
        _nested(),
        initialize_config_dir(str(conf_dir()), **VERSION_BASE),
    ):
        composer: Any = GlobalHydra.instance().hydra
        config: DictConfig = composer.compose_config(
            command, [opened(o) for o in overrides], run_mode=mode, from_shell=False
        )
        return config


def check_searchpath(overrides: Sequence[str]) -> None:
    """ConfigError for a place of hydra.searchpath that does not exist, and for an option there
    that Hydra would never read, since bvrank has one of that name."""
    given = [o for o in overrides if o.startswith("hydra.searchpath=")]
    for override in OverridesParser.create().parse_overrides(given):
        places = override.value()
        for place in places if isinstance(places, list) else ():
            if not _exists(str(place)):
                raise ConfigError(
                    f"{place} cannot be found",
                    where="hydra.searchpath",
                    repair="Write file:///folder, or pkg://package.folder of a package that can be "
                    "imported from here.",
                )
            _check_names(str(place))


@contextmanager
def quiet_searchpath() -> Iterator[None]:
    """Inside, Hydra does not warn of a folder without __init__.py, which works."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "provider=.* is not available", UserWarning)
        yield


def frozen(config: DictConfig, searchpath: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved plain dict that a command gets; packages of `searchpath` become trusted.

    Raises OmegaConf's errors for missing values and interpolations that lead nowhere.
    """
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: Any = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    if isinstance(plain.get("trusted"), list):
        plain["trusted"] = [*plain["trusted"], *_packages(searchpath)]
    return dict(plain)


def flat_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a plain config, dotted; a group's node counts too."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from flat_keys(value, f"{prefix}{key}.")


@contextmanager
def _nested() -> Iterator[None]:
    """Composing is possible while hydra.main composes."""
    hydra_now = GlobalHydra.instance()
    outer, hydra_now.hydra = hydra_now.hydra, None
    try:
        yield
    finally:
        hydra_now.hydra = outer


def _check_names(place: str) -> None:
    for folder in _folders(place):
        for path in sorted(folder.glob("*/**/*.yaml")):
            name = path.relative_to(folder)
            if (conf_dir() / name).is_file() and folder.resolve() != conf_dir().resolve():
                raise ConfigError(
                    f"{place} has {name}, which is an option of bvrank's own and would win",
                    where="hydra.searchpath",
                    repair="Give yours another name.",
                )


def _folders(place: str) -> list[Path]:
    if not place.startswith("pkg://"):
        return [Path(place.removeprefix("file://"))]
    spec = importlib.util.find_spec(place.removeprefix("pkg://"))
    return [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []


def _exists(place: str) -> bool:
    if not place.startswith("pkg://"):
        return Path(place.removeprefix("file://")).is_dir()
    try:
        return importlib.util.find_spec(place.removeprefix("pkg://")) is not None
    except (ImportError, ValueError):
        return False


def _packages(searchpath: Sequence[str]) -> list[str]:
    places = [path.removeprefix("pkg://") for path in searchpath if path.startswith("pkg://")]
    return sorted({place.split(".")[0] for place in places})
