from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from bvrank.errors import ConfigError
from bvrank.tracking.tensorboard import TensorBoard
from bvrank.tracking.wandb import Wandb


@pytest.mark.parametrize(("package", "node"), [("wandb", Wandb), ("tensorboard", TensorBoard)])
def test_a_missing_package_is_told_with_its_installation(
    package: str, node: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    node()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        node()
    assert str(caught.value) == (
        f"{package} is not installed. Install it: pip install 'bvrank[{package}]'"
    )
