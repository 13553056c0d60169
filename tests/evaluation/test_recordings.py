"""One model, everything once; else it is told."""

from __future__ import annotations

import pytest

from bvrank.errors import DataError
from bvrank.evaluation.recordings import chosen, once

ROWS = [("a", 1), ("b", 2), ("a", 3)]


def test_the_model_that_is_chosen() -> None:
    assert chosen(ROWS, "a", "f") == [1, 3] and chosen(ROWS[:1], None, "f") == [1]
    assert chosen([], None, "f") == []


@pytest.mark.parametrize(("model", "said"), [(None, "2 models: a, b"), ("c", "of c, but of a, b")])
def test_no_model_or_none_that_is_there(model: str | None, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        chosen(ROWS, model, "f")
    assert error.value.where == "f" and "judge.model" in error.value.repair


def test_what_comes_twice() -> None:
    once(["a", "b"], "f")
    with pytest.raises(DataError, match="'a' twice"):
        once(["a", "b", "a"], "f")
