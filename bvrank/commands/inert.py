"""What a config file cannot do, whoever wrote it: run code while it is composed, or widen trust.

Hydra instantiates `hydra.callbacks`, `hydra.sweeper` and `hydra.launcher`, builds loggers from
`hydra.job_logging` and sets `hydra.job.env_set`, all of which any option of a search path may fill.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from bvrank.errors import ConfigError

# Below `hydra`: the keys whose values Hydra acts upon, and what they are here.
ACTING: dict[str, Any] = {
    "hydra.callbacks": {},
    "hydra.job.env_set": {},
    "hydra.job_logging.root": None,
    "hydra.hydra_logging.root": None,
}


# What Hydra itself builds for a multirun, and nothing below it.
BUILT = {
    "hydra.sweeper": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra.launcher": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
}


@contextmanager
def inert_loading() -> Iterator[None]:
    """Inside, every config that Hydra composes is checked before Hydra acts upon it."""
    real = ConfigLoaderImpl.load_configuration

    def load(self: Any, *arguments: Any, **keywords: Any) -> DictConfig:
        config = real(self, *arguments, **keywords)
        check(config)
        return config

    ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = real  # type: ignore[method-assign]


def check(config: DictConfig) -> None:
    """ConfigError when a composed config (with Hydra's node) does what none may."""
    for key, value in ACTING.items():
        if (OmegaConf.select(config, key) or value) != value:
            raise ConfigError("no config may set this: it would run code", where=key)
    for key, usual in BUILT.items():
        node = OmegaConf.select(config, key)
        plain = OmegaConf.to_container(node, resolve=False) if node is not None else {}
        if list(_targets(plain)) not in ([], [usual]):
            raise ConfigError("no config may set this: it would run code", where=key)
    words: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    named, typed = OmegaConf.select(config, "trusted"), _typed(words)
    for package in named if isinstance(named, ListConfig) else ():
        if package not in typed:
            raise ConfigError(
                f"a config file names {package}, and only the command line may",
                where="trusted",
                repair=f"If you trust its code, write trusted=[{package}] there.",
            )


def _targets(node: Any) -> Iterator[Any]:
    """Every `_target_` in a plain config, at any depth."""
    if isinstance(node, dict):
        yield from (v for k, v in node.items() if k == "_target_")
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inside:
        yield from _targets(value)


def _typed(overrides: Sequence[str]) -> list[Any]:
    """The packages that the command line itself trusts."""
    given = [o for o in overrides if o.lstrip("+").startswith("trusted=")]
    values = [o.value() for o in OverridesParser.create().parse_overrides(given)]
    return [name for value in values if isinstance(value, list) for name in value]
