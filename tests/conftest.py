"""One thread per process: with two, tensors as small as these wait for each other (90 s, not 3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.signals import heard

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
heard()


@dataclass(frozen=True)
class Served:
    """Where a server of chat completions is, and the name of its model: the folder."""

    base_url: str
    model: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A tiny reasoning model behind `transformers serve`, one for all tests of a process."""
    from tests.serve import can_serve, serving, tiny_folder

    if not can_serve():
        pytest.skip("openai, fastapi or uvicorn is missing; the extra `dev` brings them")
    folder = tiny_folder(tmp_path_factory.mktemp("served") / "model")
    with serving(folder, folder.parent / "log") as url:
        yield Served(url, str(folder))
