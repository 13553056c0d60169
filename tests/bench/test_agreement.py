"""What counts as the same training."""

from __future__ import annotations

import pytest
import torch

from bvrank.bench.agreement import ROUNDING, SAME, Agreement, agreement, tolerance
from bvrank.bench.material import model, random_rows
from bvrank.errors import ModelError
from bvrank.records import BARE, FULL
from tests.bench.shape import SHAPE


def test_losses_that_differ_stop_the_bench() -> None:
    found = agreement({"a": [0.5, 0.25], "b": [0.5005, 0.25]}, SAME)
    assert found == Agreement(pytest.approx(5e-4), SAME, 0.25)
    with pytest.raises(ModelError, match=r"train different things: losses a 0\.50000, b nan"):
        agreement({"a": [0.5], "b": [float("nan")]}, SAME)
    with pytest.raises(ModelError, match=r"losses a 0\.10000, b 0\.20000"):
        agreement({"a": [0.5, 0.1], "b": [0.5, 0.2]}, SAME)


def test_the_worse_of_two_is_told() -> None:
    one, other = Agreement(1.0, 2.0, 3.0), Agreement(0.5, 2.5, 4.0)
    assert one.joined(other) == other.joined(one) == Agreement(1.0, 2.5, 3.0)
    assert one.facts("x") == {"x/apart": 1.0, "x/allowed": 2.0, "x/moved": 3.0}


def test_bf16_is_allowed_what_its_roundings_add_up_to() -> None:
    """With beta, with the square root of the tokens, of the longer view, and less in larger
    batches: four times the pairs are half the noise of their mean."""
    rows = random_rows(8, 61, 3, 32, 0)
    assert tolerance(rows, 2, 0.1, "fp32") == SAME
    one = tolerance(rows, 2, 0.1, "bf16") - SAME
    assert one == pytest.approx(4 * 0.1 * ROUNDING * (4 * 2 * 64) ** 0.5 / 2)
    assert tolerance(rows, 8, 0.1, "bf16") - SAME == pytest.approx(one / 2)
    assert tolerance(rows, 2, 0.3, "bf16") - SAME == pytest.approx(3 * one)
    longer = [{FULL: row[FULL], BARE: random_rows(1, 61, 3, 128, 0)[0][FULL]} for row in rows]
    assert tolerance(longer, 2, 0.1, "bf16") - SAME == pytest.approx(2 * one)


def test_a_tokens_log_prob_in_bf16_is_off_by_less_than_the_rounding_that_is_taken() -> None:
    policy = model({**SHAPE, "hidden_size": 64, "num_hidden_layers": 4}, 0)
    ids = torch.arange(120).unsqueeze(0) % 61
    with torch.no_grad():
        exact = policy(ids).logits.log_softmax(-1)
        with torch.autocast("cpu", torch.bfloat16):
            rough = policy(ids).logits.float().log_softmax(-1)
    off = (rough - exact)[0, :-1].gather(-1, ids[0, 1:, None]).std()
    assert 0 < off < ROUNDING
