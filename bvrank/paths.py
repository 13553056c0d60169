"""Where things lie: the configuration, and the store of reusable artifacts."""

from __future__ import annotations

import os
from pathlib import Path


def conf_dir() -> Path:
    """The packaged conf/ in a wheel, the top-level conf/ in a checkout or an editable install."""
    package = Path(__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def store_dir(setting: str | None = None) -> Path:
    """The artifact store: `setting`, else $BVRANK_STORE, else the user's cache folder."""
    if setting:
        return Path(setting).expanduser()
    if os.environ.get("BVRANK_STORE"):
        return Path(os.environ["BVRANK_STORE"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "bvrank"
