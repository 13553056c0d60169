"""A fixture for command lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.commands.line import Call, call


@pytest.fixture
def bvrank(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Call]:
    """`bvrank("train", "seed=1")` is that command line, up to the run itself."""
    return lambda *args: call(capfd, monkeypatch, *args)
