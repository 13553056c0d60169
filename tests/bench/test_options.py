"""Settings that make no measurement are refused, each by its key."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.bench.options import Growth, Lists, Memory, Ranks, Versus
from bvrank.errors import ConfigError

GIVEN: dict[type[Any], dict[str, Any]] = {
    Lists: {"items": [5], "prompts": [8], "item_tokens": 2, "budget": 64},
    Versus: {
        "path": None,
        "batch": 4,
        "rows": 8,
        "micro": [4, 1],
        "recompute": [2],
        "screen": [2],
        "max_length": 9,
    },
    Memory: {"vocabularies": [300], "scored": [2, 4], "prompt": 3, "recompute": True},
    Growth: {"items": [1], "traces": [1], "rows": [1]},
    Ranks: {"path": "a", "batch": 1, "steps": 2, "engine": "zero0"},
}


@pytest.mark.parametrize("kind", GIVEN)
def test_every_number_is_one_from_1(kind: type[Any]) -> None:
    kind(**GIVEN[kind])
    for name, value in GIVEN[kind].items():
        wrong = [0, -1] if isinstance(value, int) else [[1, 0]] + [[]] * (name != "recompute")
        for bad in wrong if name not in ("path", "engine") else []:
            with pytest.raises(ConfigError, match=rf"^{name}: must be "):
                kind(**{**GIVEN[kind], name: bad})


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (Versus, {"micro": [4, 3]}, "micro: must divide batch=4, got 3"),
        (Versus, {"screen": [8]}, "screen: must divide batch=4, got 8"),
        (Versus, {"rows": 3}, "rows: must be at least batch=4"),
        (Memory, {"vocabularies": [300, 260]}, "vocabularies: must be at least 261"),
        (Memory, {"scored": [4, 7]}, "scored: must be even: two answers share them"),
        (Ranks, {"steps": 1}, "steps: must be at least 2: the first does not count"),
    ],
)
def test_numbers_that_do_not_fit_each_other(
    kind: type[Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**{**GIVEN[kind], **change})
    assert str(caught.value) == said


def test_a_file_is_asked_for_by_its_section() -> None:
    assert Ranks(**GIVEN[Ranks]).file("ranks") == "a"
    with pytest.raises(ConfigError, match=r"^views\.path: needs a file of pairs"):
        Versus(**GIVEN[Versus]).file("views")
