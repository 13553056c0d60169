"""What stayed away, and what may."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bvrank.commands.absence import noted, too_many


def part(share: float) -> SimpleNamespace:
    return SimpleNamespace(max_failed=share)


@pytest.mark.parametrize(
    ("now", "expected"), [(0.2, False), (0.1, False), (0.04, True), (0.05, False), (0.5, False)]
)
def test_less_that_may_be_missing_than_is_missing_is_too_much(now: float, expected: bool) -> None:
    manifest = {"away": noted({"judge": 0.05, "sampler": 0.0}, {"judge": part(0.1)})}
    assert manifest["away"] == {"judge": {"share": 0.05, "allowed": 0.1},
                                "sampler": {"share": 0.0, "allowed": 1.0}}  # fmt: skip
    assert too_many(manifest, {"judge": part(now)}) is expected


def test_what_was_accepted_is_accepted_again() -> None:
    """More than was allowed by some other way of counting is no reason to go on for ever."""
    assert not too_many({"away": noted({"reward": 0.3}, {"reward": part(0.2)})},
                        {"reward": part(0.2)})  # fmt: skip


def test_a_folder_that_tells_nothing_lacks_nothing() -> None:
    assert not too_many({}, {"sampler": part(0.0)})
    assert not too_many({"away": noted({"judge": 0.3}, {})}, {})
