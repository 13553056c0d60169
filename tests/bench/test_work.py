"""The work of trees, against a count token by token and against torch's own of operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bvrank.bench import work
from bvrank.bench.lists import list_of
from bvrank.bench.material import model
from bvrank.bench.work import Work, flops, matmul_rate
from bvrank.records import FULL, Branch, Encoded, Segment
from tests.bench.shape import SHAPE
from tests.scoring.trees import pair_tree


def tree(*lengths: tuple[int, int]) -> Encoded:
    """Segments of (parent, tokens); each leaf is a branch."""
    segments = tuple(Segment(parent, np.zeros(tokens, np.int32)) for parent, tokens in lengths)
    leaves = [n for n in range(len(lengths)) if all(parent != n for parent, _ in lengths)]
    branches = tuple(Branch(FULL, (n,), 0.0, k + 1, k) for k, n in enumerate(leaves))
    return Encoded("t", segments, branches)


def seen(encoded: Encoded) -> int:
    """Tokens that each token may see, itself among them, one after another."""
    total = 0
    for path in encoded.paths():
        before = sum(len(encoded.segments[s].ids) for s in path[:-1])
        total += sum(before + n + 1 for n in range(len(encoded.segments[path[-1]].ids)))
    return total


@pytest.mark.parametrize(
    "encoded",
    [tree((-1, 3)), tree((-1, 3), (0, 2), (0, 4)), tree((-1, 2), (0, 3), (1, 1), (1, 2), (0, 5)),
     list_of(61, 5, 11, 3, 0), pair_tree(np.random.default_rng(0), prompt=7, answers=[4, 2])],
)  # fmt: skip
def test_each_token_counts_once_and_with_all_it_sees(encoded: Encoded) -> None:
    work = Work.of(encoded)
    assert work.tokens == sum(len(s.ids) for s in encoded.segments)
    assert work.pairs == seen(encoded)


def test_a_list_by_hand() -> None:
    work = Work.of(list_of(61, 5, 11, 3, 0))
    assert work == Work(tokens=11 + 5 * 3, pairs=66 + 5 * (3 * 11 + 6), scored=15)
    assert work + Work(1, 2, 3) == Work(27, work.pairs + 2, 18)


@pytest.mark.parametrize("tied", [True, False])
def test_operations_are_those_that_torch_counts(tied: bool) -> None:
    """A causal pass with logits of every position. Plain attention computes the whole square, so
    there each token attends to all."""
    policy = model({**SHAPE, "tie_word_embeddings": tied}, 0)
    policy.set_attn_implementation("eager")
    tokens = 32
    ids = torch.randint(61, (1, tokens))
    with FlopCounterMode(display=False) as counter:
        policy(input_ids=ids, use_cache=False).logits.sum().backward()
    assert flops(Work(tokens, tokens**2, tokens), policy) == counter.get_total_flops()


@pytest.mark.parametrize(("speed", "side"), [(1e12, 2048), (1e4, 256), (4.0 * 512**3, 512)])
def test_a_rate_is_operations_over_seconds_of_a_product_that_is_not_long(
    speed: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of any speed: `side` is the first whose product is long, or the largest."""
    tried: list[int] = []

    def product(device: torch.device, dtype: torch.dtype, side: int, repeats: int) -> float:
        tried.append(side)
        return 2.0 * side**3 * repeats / speed

    monkeypatch.setattr(work, "_product", product)
    assert matmul_rate(torch.device("cpu"), torch.float32) == pytest.approx(speed)
    assert tried[-1] == side


def test_seconds_of_a_product_leave_the_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 20.0, 22.0])
    monkeypatch.setattr(work.time, "perf_counter", lambda: next(ticks))
    assert work._product(torch.device("cpu"), torch.float32, 8, 3) == 2.0
