"""What is printed can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bvrank.commands.compose import composed
from bvrank.commands.words import named


@pytest.mark.parametrize(
    "path", ["a/b.jsonl", "a b/c.jsonl", "it (1).jsonl", "x=1,y.jsonl", "ü.jsonl", "a{b}.jsonl"]
)
def test_the_shell_and_hydra_give_the_path_back(path: str) -> None:
    (word,) = shlex.split(named("prompts.path", Path(path)))
    found = composed("sample", ["prompts=file", word])
    assert found.prompts.path == path
