"""Where a run comes from: code, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from bvrank import __version__

PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "datasets", "pyarrow",
    "peft", "hydra-core", "omegaconf", "deepspeed", "vllm",
    "wandb", "tensorboard",
)  # fmt: skip


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and dirtiness of the repository around `folder`; None outside of one."""
    if _git(folder, "rev-parse", "--is-inside-work-tree") != "true":
        return None
    changes = _git(folder, "status", "--porcelain")
    return {
        "commit": _git(folder, "rev-parse", "--verify", "-q", "HEAD") or None,
        "dirty": None if changes is None else bool(changes),
    }


def versions() -> dict[str, str]:
    """Versions of Python, bvrank and the packages installed, read from their metadata."""
    found = {"python": platform.python_version(), "bvrank": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The system, its architecture and how many processors this process may use."""
    return {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "processors": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    # Optional locks off: asking for the status must not write into the user's repository.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ("git", "-C", str(folder), *arguments),
            capture_output=True, text=True, errors="replace", timeout=10, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
