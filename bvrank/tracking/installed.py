"""Is the package of a tracker there? Asked before anything is loaded, without importing it."""

from __future__ import annotations

import importlib.util

from bvrank.errors import ConfigError


def check_installed(package: str) -> None:
    """ConfigError when `package` is missing, with the command that installs it."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{package} is not installed", repair=f"Install it: pip install 'bvrank[{package}]'"
        )
