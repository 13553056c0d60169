"""Sizes of what grows, and that a step is the gradient of all that is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bvrank.bench.cost import lists, rows, traces
from bvrank.bench.lists import list_of
from bvrank.bench.material import model
from bvrank.bench.work import Work
from bvrank.data.shelf import Shelf
from bvrank.records import Encoded
from tests.bench.shape import SHAPE


def test_an_item_more_is_its_own_tokens_and_what_they_see() -> None:
    policy = model(SHAPE, 0)
    points = list(lists(policy, [2, 3, 5], prompt=9, item=4, seed=0))
    assert [p.setting for p in points] == [{"grows": "items", "size": n} for n in (2, 3, 5)]
    work = [p.work for p in points]
    assert [w.tokens for w in work] == [9 + 4 * n for n in (2, 3, 5)]
    assert work[1].pairs - work[0].pairs == 4 * 9 + 10
    assert [w.scored for w in work] == [8, 12, 20]


def test_traces_hold_two_traces_with_answers_and_two_answers_below_one_prompt() -> None:
    policy = model(SHAPE, 0)
    short, long = traces(policy, [8, 16], prompt=5, answer=3, seed=0)
    assert short.work.tokens == 5 + 2 * (8 + 3) + 2 * 3
    assert long.work.tokens - short.work.tokens == 2 * 8
    assert short.work.scored == short.work.tokens - 5
    short.step()
    assert all(p.grad is not None for p in policy.parameters())


def test_a_step_leaves_the_gradient_of_all_that_is_scored() -> None:
    policy = model(SHAPE, 0)
    (point,) = lists(policy, [3], prompt=4, item=2, seed=0)
    for _ in range(2):  # nothing is left over from the step before
        point.step()
    found = [p.grad.clone() for p in policy.parameters()]
    tree = list_of(61, 3, 4, 2, 0)
    prompt, *items = ([int(i) for i in s.ids] for s in tree.segments)
    policy.zero_grad()
    for item in items:
        logits = policy(input_ids=torch.tensor([prompt + item])).logits[0].log_softmax(-1)
        sum(logits[len(prompt) - 1 + n, i] for n, i in enumerate(item)).backward()
    for got, parameter in zip(found, policy.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-4, atol=1e-5)


def test_rows_are_drawn_from_a_shelf_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = model(SHAPE, 0)
    small, large = rows(policy, [4, 16], batch=4, seed=0, folder=tmp_path)
    drawn: list[int] = []
    real = Shelf._row

    def row(self: Shelf, number: int) -> Encoded:
        drawn.append(number)
        return real(self, number)

    monkeypatch.setattr(Shelf, "_row", row)
    small.step()
    assert {*drawn} == {0, 1, 2, 3}
    drawn.clear()
    for _ in range(4):
        large.step()
    assert {*drawn} == {*range(16)}  # a pass
    small.step()
    assert small.work == large.work == Work()
    assert all(p.grad is None for p in policy.parameters())
