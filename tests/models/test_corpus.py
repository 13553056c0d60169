"""The fingerprint tells texts apart, and how they are cut."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bvrank.models.corpus import Corpus

TEXTS = st.lists(st.text(st.characters()), max_size=4)


def fingerprint(texts: list[str]) -> str:
    return Corpus(lambda: texts, Path("any")).fingerprint()


@given(TEXTS, TEXTS)
def test_equal_texts_and_only_those_agree(one: list[str], two: list[str]) -> None:
    assert (fingerprint(one) == fingerprint(two)) == (one == two)


def test_a_lone_surrogate_is_no_trouble_and_cuts_count() -> None:
    assert fingerprint(["\ud800"]) != fingerprint([])
    assert fingerprint(["ab"]) != fingerprint(["a", "b"])
