"""Whole commands, timed from outside: how soon they answer, and how two ranks share a step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.errors import RunError

PATIENCE = 600.0  # seconds after which a command that says nothing is given up


def word(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it, whatever the value: text in quotes, interpolated nowhere."""
    return f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    if not isinstance(value, str):
        return repr(value)
    # Backslashes count double before what they would escape: an interpolation, and the quote.
    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return '"' + re.sub(r'(\\*)("|\Z)', _doubled, plain) + '"'


def _doubled(found: re.Match[str]) -> str:
    return found[1] * 2 + ('\\"' if found[2] else "")


def answered(words: Sequence[str], folder: Path, threads: int | None = None) -> float:
    """Seconds of `bvrank <words>` from its start to its end. RunError when it fails."""
    start = time.perf_counter()
    done = subprocess.run(_command(words), cwd=folder, capture_output=True, text=True,
                          env=_environment(threads))  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RunError(_last(done.stderr), where=f"bvrank {' '.join(words)}")
    return seconds


def first_step(words: Sequence[str], folder: Path, threads: int | None = None,
               on_line: Callable[[str], None] = lambda _: None) -> float:  # fmt: skip
    """Seconds from the start of `bvrank train <words>` to its first logged step; then it is
    stopped. `on_line` hears what it says meanwhile. RunError when it ends before."""
    start = time.perf_counter()
    with _running(["train", "outputs=runs", "force=true", *words], folder, threads) as process:
        heard = 0
        while not _logged(folder):
            heard = _heard(folder, heard, on_line)
            _check(process, folder)
            if process.poll() is not None and not _logged(folder):
                raise RunError("ended before its first step", where="bvrank train")
            time.sleep(0.01)
        seconds = time.perf_counter() - start
    _clear(folder)
    return seconds


def _heard(folder: Path, since: int, on_line: Callable[[str], None]) -> int:
    """Passes on the whole lines behind byte `since`; returns where the next one begins."""
    with (folder / "said").open("rb") as said:
        said.seek(since)
        lines, newline, _ = said.read().rpartition(b"\n")
    for line in lines.decode(errors="replace").splitlines() if newline else ():
        on_line(line)
    return since + len(lines) + len(newline)


def steps(words: Sequence[str], folder: Path, threads: int) -> list[float]:
    """Seconds of every optimiser step but the first of `bvrank train <words>`, run to its end."""
    with _running(["train", "outputs=runs", "force=true", *words], folder, threads) as process:
        while process.poll() is None:
            _check(process, folder)
            time.sleep(0.1)
    if process.returncode:
        raise RunError(_last((folder / "said").read_text()), where=f"bvrank train {words[0]}")
    (path,) = folder.glob("runs/*/metrics.jsonl")
    found = [json.loads(line)["speed/seconds"] for line in path.read_text().splitlines()]
    _clear(folder)
    return found[1:]


def middle(times: Sequence[float]) -> float:
    """The median."""
    return statistics.median(times)


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bvrank", *words]


def _environment(threads: int | None) -> dict[str, str]:
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **own}


@contextlib.contextmanager
def _running(words: Sequence[str], folder: Path, threads: int | None):  # type: ignore[no-untyped-def]
    """The command, with what it says in `folder`/said; stopped and waited for afterwards."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(_command(words), cwd=folder, stdout=said, stderr=said,
                                   env=_environment(threads), start_new_session=True)  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check(process: subprocess.Popen[bytes], folder: Path) -> None:
    said = folder / "said"
    if process.poll():
        raise RunError(_last(said.read_text()), where="bvrank train")
    if time.time() - said.stat().st_mtime > PATIENCE:
        raise RunError(f"said nothing in {PATIENCE:.0f} s", where="bvrank train")


def _logged(folder: Path) -> bool:
    return any(p.stat().st_size for p in folder.glob("runs/*/metrics.jsonl"))


def _clear(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder / "runs", ignore_errors=True)


def _last(text: str) -> str:
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
