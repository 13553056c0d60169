"""The score that came with a response is its score."""

from __future__ import annotations

from bvrank.records import Asked, Scored
from bvrank.rewards.recorded import Recorded


def test_scores_are_passed_on_and_missing_ones_are_told() -> None:
    asked = [Asked("a", (), "x", recorded=0.5), Asked("b", (), "y")]
    assert list(Recorded().scores(asked)) == [Scored("a", 0.5), Scored("b", None, "no_score")]
