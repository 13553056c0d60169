"""What a metric's name says."""

from __future__ import annotations

import pytest

from bvrank.evaluation.metrics import HIGHER, LOWER, NUMBERS, bounds, higher_is_better, is_share


@pytest.mark.parametrize(
    ("figure", "higher", "share"),
    [("thinking/avg@4", True, True), ("ndcg@5", True, True), ("bare/unclosed", False, True),
     ("kl", False, False), ("wikitext/word_perplexity", False, False),
     ("quiz/acc@strict", True, True),
     ("wikitext/bits_per_byte", False, False), ("thinking/tokens", None, False),
     ("full/rejected_displacement", None, False), ("thinking/length", None, False),
     ("somebody/own", None, False), ("style_controlled@hard", True, True)],
)  # fmt: skip
def test_which_way_is_better_and_what_is_a_share(
    figure: str, higher: bool | None, share: bool
) -> None:
    assert higher_is_better(figure) is higher and is_share(figure) is share


def test_a_share_is_within_its_bounds() -> None:
    """An F1 in per cent is told as it is."""
    assert is_share("f1", 0.7) and not is_share("f1", 70.0)
    assert bounds("acc") == (0, 1) and bounds("accuracy_drop") == (-1, 1)
    assert bounds("tokens") is bounds("somebody/own") is None


def test_every_metric_is_told_once() -> None:
    every = [*HIGHER, *LOWER, *NUMBERS]
    assert len(every) == len(set(every))
