"""Words of a command line, as a user can type them."""

from __future__ import annotations

import shlex
from pathlib import Path


def named(key: str, path: str | Path) -> str:
    """`key=path`; a name that Hydra cannot read stands in quotes inside quotes."""
    plain = all(c.isascii() and (c.isalnum() or c in "./_-") for c in str(path))
    return f"{key}={path}" if plain else shlex.quote(f'{key}="{path}"')
