"""One real server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serve import can_serve, serving, tiny_folder


@dataclass(frozen=True)
class Served:
    """Where the server is, and the name and folder of its model."""

    base_url: str
    model: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A tiny reasoning model behind `transformers serve`."""
    if not can_serve():
        pytest.skip("needs the extra `dev`")
    folder: Path = tiny_folder(tmp_path_factory.mktemp("served") / "model")
    with serving(folder, folder.parent / "log") as url:
        yield Served(url, str(folder))
