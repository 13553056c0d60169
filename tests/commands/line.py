"""The command line under test: one call, its exit code and what it printed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bvrank.commands.app
from bvrank.cli import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Call:
    """What a command line did; `config` is what its command would have run with."""

    code: int
    out: str
    err: str
    config: dict[str, Any] | None = None


def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> Call:
    """`bvrank <args>` in this process, with the command itself replaced by a recorder."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(bvrank.commands.app, "execute", lambda _, c: seen.append(c) or 0)
    capfd.readouterr()
    code = main(args)
    out, err = capfd.readouterr()
    return Call(code, out, err, seen[0] if seen else None)


def process(*args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Call:
    """`python -P -m bvrank <args>` with this checkout on the path."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bvrank", *args],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Call(done.returncode, done.stdout, done.stderr)
