"""`transformers serve`, a real server of chat completions, with a tiny reasoning model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from bvrank.models.saving import save_policy
from bvrank.models.tiny import tiny_model, tiny_tokenizer

NEEDED = ("openai", "fastapi", "uvicorn")
PATIENCE = 180.0  # seconds in which it has to be there; 10 are usual


def can_serve() -> bool:
    """Whether the packages are there."""
    return all(find_spec(name) for name in NEEDED)


def tiny_folder(folder: Path) -> Path:
    """A model of random weights with a tokenizer and a chat template."""
    model = tiny_model(0, hidden_size=32, layers=1, heads=2, intermediate_size=64)
    model.generation_config.do_sample = True  # else the server ignores temperature and top_p
    model.bvrank_tokenizer = tiny_tokenizer()
    save_policy(model, folder)
    return folder


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    """The base_url of a server of the model in `folder`; its name there is the path."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder),
               "--port", "0", "--host", "127.0.0.1", "--device", "cpu"]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        yield _address(process, log) + "/v1"
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server says once it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        text = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"running on (http://[\d.:]+)", text):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"transformers serve does not serve:\n{log.read_text(errors='replace')}")
