"""Many runs in one set of processes: `python -m tests.trials.many jobs.json results.json`.

Starting a process costs more than a short run; the runs themselves are those of the command, from
the frozen config on.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.commands.sweep import package_path
from bvrank.run.files import read_jsonl


def run_all(
    jobs: Sequence[Mapping[str, Any]], ranks: int, folder: Path
) -> list[list[dict[str, Any]]]:
    """Runs each config on `ranks` processes; the lines of metrics.jsonl of each run."""
    todo, done = folder / f"jobs-{ranks}.json", folder / f"results-{ranks}.json"
    todo.write_text(json.dumps(list(jobs)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
             "OMP_NUM_THREADS": "1", "PYTHONPATH": package_path()}  # fmt: skip
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trials.many", str(todo), str(done)],
            env={**os.environ, **place, "RANK": str(n), "LOCAL_RANK": str(n)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(ranks)
    ]
    said = [child.communicate(timeout=1800)[1] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError("\n".join(said))
    found: list[list[dict[str, Any]]] = json.loads(done.read_text())
    return found


def main() -> int:
    """Works through the jobs as one rank."""
    from bvrank.commands.job import prepare_process
    from bvrank.commands.train import work
    from bvrank.ranks import joined

    prepare_process()
    todo, done = map(Path, sys.argv[1:])
    with joined(600.0, "cpu") as ranks:
        for config in json.loads(todo.read_text()):
            with silence():
                work(config, ranks)
        if ranks.first:
            done.write_text(json.dumps([_lines(c) for c in json.loads(todo.read_text())]))
    return 0


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing that is printed is seen."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _lines(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    return read_jsonl(Path(config["outputs"]) / config["name"] / "metrics.jsonl")[0]


if __name__ == "__main__":
    try:
        code = main()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # without waiting for a rank that is gone
