"""When responses show that the template opens the think block."""

from __future__ import annotations

import pytest

from bvrank.errors import ConfigError
from bvrank.sampling.signs import SURE, Signs, block_of


@pytest.mark.parametrize(
    ("text", "block"),
    [("a", None), ("a</think>b", "unopened"), ("<think>a</think>b", "opened"),
     ("<think>a", "opened"), ("a</think>b<think>", "unopened")],
)  # fmt: skip
def test_a_text_shows_who_opens_its_block(text: str, block: str | None) -> None:
    assert block_of(text) == block


@pytest.mark.parametrize(
    ("plain", "unopened", "opened", "sure", "whole"),
    [(0, 1, 0, False, True), (0, 3, 0, True, True), (3, 1, 0, False, True),
     (4, 1, 0, False, False), (9, 3, 0, True, True), (10, 3, 0, False, False),
     (0, 99, 1, True, True), (0, 99, 10, False, False), (0, 9, 1, False, False),
     (5, 0, 0, False, False)],
)  # fmt: skip
def test_enough_of_all_and_next_to_none_that_speak_against_them(
    plain: int, unopened: int, opened: int, sure: bool, whole: bool
) -> None:
    """Three while more may come, one of few at the end, and a quarter in either case."""
    signs = Signs(plain + unopened + opened, opened, unopened)
    for least, stops in ((SURE, sure), (1, whole)):
        if stops:
            with pytest.raises(
                ConfigError, match=f"{unopened} of {plain + unopened + opened} thinking"
            ):
                signs.check(least)
        else:
            signs.check(least)


def test_what_was_cut_off_has_shown_nothing() -> None:
    """Of eight thoughts that the template opened, six may not have closed yet."""
    signs = Signs()
    for block, ended in [(None, False)] * 6 + [("unopened", True)] * 2:
        signs.add(block, ended)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 of 2 thinking"):
        signs.check(1)
