from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.commands.annotations import described, fit, hints, shown
from bvrank.errors import ConfigError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number or null"),
        (Literal["a", 1], "one of a, 1"),
        (Literal["a"] | None, "one of a or null"),
        (tuple[int, ...], "a list (each a whole number)"),
        (tuple[int, str], "[a whole number, text]"),
        (list[float], "a list (each a number)"),
        (dict[str, float], "keys with values"),
        (Sequence[str], "a list (each text)"),
        (Path, "a path"),
        (dict, "keys with values"),
    ],
)
def test_described(hint: Any, words: str) -> None:
    assert described(hint) == words


@given(PLAIN)
def test_anything_fits_any(value: Any) -> None:
    assert fit(value, Any, "k") == value


@given(PLAIN)
def test_a_bool_is_no_number_and_text_is_none_either(value: Any) -> None:
    for hint, kinds in ((int, int), (float, (int, float)), (str, str), (bool, bool)):
        right = isinstance(value, kinds) and (hint is bool or not isinstance(value, bool))
        if right and not (isinstance(value, str) and not encodable(value)):
            assert fit(value, hint, "k") == hint(value)
        else:
            with pytest.raises(ConfigError, match=r"^k: must be"):
                fit(value, hint, "k")


@pytest.mark.parametrize(
    ("value", "hint", "repair"),
    [
        ("a", list[str], "Write k=[a]."), ("a", list[Literal["a", "b"]], "Write k=[a]."),
        (3, tuple[int, ...] | None, "Write k=[3]."), (True, list[bool], "Write k=[true]."),
        ("a", list[int], ""), (["a"], list[list[str]], ""), ({}, list[dict[str, str]], ""),
        ("a", int, ""),
    ],
)  # fmt: skip
def test_what_lacks_its_brackets_is_told_with_them(value: Any, hint: Any, repair: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(value, hint, "k")
    assert caught.value.repair == repair


def encodable(text: str) -> bool:
    """pydantic refuses half of a surrogate pair, which no file can hold either."""
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


def test_hints_of_functions_and_classes() -> None:
    class Plain:
        def __init__(self, a: int, b: Mapping[str, int]) -> None: ...

    def function(c: str, d) -> None: ...  # type: ignore[no-untyped-def]

    assert hints(Plain)["a"] is int
    assert hints(Plain)["b"] == Mapping[str, int]
    assert hints(function)["c"] is str
    assert "d" not in hints(function)


@pytest.mark.parametrize("value", [None, True, 0.1, 3, [1, None]])
def test_shown_as_a_config_has_it(value: Any) -> None:
    assert json.loads(shown(value)) == value


def test_text_is_shown_in_quotes() -> None:
    assert shown("a'b") == '"a\'b"'
