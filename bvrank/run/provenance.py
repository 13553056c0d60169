"""Where a run comes from: command line, code, versions, machine. No secrets."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bvrank import __version__

HIDDEN = "***"
PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "datasets", "pyarrow",
    "peft", "hydra-core", "omegaconf", "deepspeed", "vllm",
)  # fmt: skip

# A key names a secret when one of its words does; `api_key_env` holds the NAME of a variable.
_SECRET_WORDS = {"key", "apikey", "token", "secret", "password", "passwd"}
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|github_pat_\w{16,}|wandb_v1_\w{8,}|AKIA[A-Z0-9]{16}|xox[a-z]-[A-Za-z0-9-]{8,})"
)
_HEX40 = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{40}(?![0-9A-Za-z])")  # a wandb key, or a commit
_COMMIT_WORDS = {"revision", "commit", "sha"}
_URL_LOGIN = re.compile(r"(://)[^/\s@]+@")


def redact_command(argv: Sequence[str]) -> list[str]:
    """`argv` with the values of secret-sounding keys and secret-looking strings hidden.

    Covers `key=value`, `--token value`, tokens by their shape, and logins inside URLs.
    """
    out: list[str] = []
    hide_next = False
    for argument in argv:
        if hide_next and not argument.startswith("-"):
            out.append(HIDDEN)
            hide_next = False
            continue
        hide_next = argument.startswith("-") and "=" not in argument and _secret_key(argument)
        out.append(_redact_argument(argument))
    return out


def redact(value: Any) -> Any:
    """`value` with strings that have the shape of a secret hidden, at any depth."""
    if isinstance(value, Mapping):
        return {k: redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(v) for v in value]
    if isinstance(value, str):
        return _URL_LOGIN.sub(rf"\1{HIDDEN}@", _SHAPES.sub(HIDDEN, value))
    return value


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


def _redact_argument(argument: str) -> str:
    key, separator, value = argument.partition("=")
    if separator and value and _secret_key(key):
        return f"{key}={HIDDEN}"
    hidden: str = redact(argument)
    return hidden if _words(key) & _COMMIT_WORDS else _HEX40.sub(HIDDEN, hidden)


def _secret_key(key: str) -> bool:
    words = _words(key)
    return bool(words & _SECRET_WORDS) and "env" not in words


def _words(key: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", key.rpartition(".")[2].lower()))


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
