"""Whole commands, timed from outside: how soon they answer, and how two ranks share a step."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bvrank.errors import RunError

PATIENCE = 600.0  # seconds after which a command that says nothing is given up


def answered(words: Sequence[str], folder: Path) -> float:
    """Seconds of `bvrank <words>` from its start to its end. RunError when it fails."""
    start = time.perf_counter()
    done = subprocess.run(_command(words), cwd=folder, capture_output=True, text=True,
                          env=_environment(None))  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RunError(_last(done.stderr), where=f"bvrank {' '.join(words)}")
    return seconds


def first_step(words: Sequence[str], folder: Path) -> float:
    """Seconds from the start of `bvrank train <words>` to its first logged step; then it is
    stopped. RunError when it ends before."""
    start = time.perf_counter()
    with _running(["train", "outputs=runs", "force=true", *words], folder, None) as process:
        while not _logged(folder):
            _check(process, folder)
            if process.poll() is not None and not _logged(folder):
                raise RunError("ended before its first step", where="bvrank train")
            time.sleep(0.01)
        seconds = time.perf_counter() - start
    _clear(folder)
    return seconds


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
