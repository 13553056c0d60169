"""What is missing is said in words, and nothing where all is there."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.evaluation.telling import away, left_out, thoughtless
from bvrank.records import Refused
from bvrank.sampling.responses import Made


def test_nothing_is_said_of_nothing() -> None:
    assert left_out([], [], "wrong") == away(0, 0) == thoughtless([]) == []


def test_rows_and_prompts_that_are_left_out() -> None:
    one, other = Refused("f:1", "missing", "no prompt"), Refused("f:2", "too_long", "is long")
    assert left_out([one], [other], "lost") == [
        "1 rows hold no prompt and are left out; first f:1: no prompt",
        "1 prompts could not be asked and count as lost; first f:2: is long",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, True), ({"think": ""}, False), ({"end": "stop"}, False), ({"mode": "nothinking"}, False)],
    ids=str,
)  # fmt: skip
def test_what_may_be_a_thought(change: dict[str, Any], told: bool) -> None:
    own = {"mode": "thinking", "row": 0, "copy": 0, "answer": "Hmm", "end": "length", **change}
    assert bool(thoughtless([Made(**own)])) == told


def test_what_never_came() -> None:
    assert away(3, 0) == ["3 responses never came and are left out of every figure"]
    assert away(3, 1)[0].endswith("1 prompts that have no other")
