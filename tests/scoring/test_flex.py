"""The block mask of FlexAttention is the mask of the trees. Its kernels are compared where an
accelerator is (test_cuda.py); here the forward pass of its plain code."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from bvrank.records import TokenRows
from bvrank.scoring import flex
from bvrank.scoring.attention import Sight
from bvrank.scoring.layout import Cost, Planted, lay_out
from bvrank.scoring.scorer import Scorer, visible
from tests.scoring.test_attention import in_blocks, under_mask, world
from tests.scoring.test_blocks import row_of
from tests.scoring.trees import marked, mixed
from tests.small import model

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
WINDOWS = (None, 1, 3, 20, 1000)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)


def flex_rows(seed: int, kind: str) -> TokenRows:
    trees = marked(seed) if kind == "marked" else mixed(seed)
    owners = iter(range(10**6))
    plants = [Planted(t, t.branches, tuple(next(owners) for _ in t.branches)) for t in trees]
    (rows,) = lay_out(plants, "flex", Cost())
    return rows


@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("seed", range(6))
def test_until_says_what_sees_says(seed: int, kind: str) -> None:
    rows = flex_rows(seed, kind)
    assert rows.until is not None and not rows.blocks
    place = torch.arange(rows.ids.shape[1])
    seen = (place <= place[:, None]) & (place[:, None] < rows.until)
    assert torch.equal(seen, visible(rows)[0])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("side", [4, 16, 128])
@pytest.mark.parametrize("seed", range(4))
def test_tiles_are_those_that_torch_finds_by_looking_at_every_pair(
    seed: int, side: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flex, "SIDE", side)
    rows = flex_rows(seed, "mixed")
    assert rows.until is not None
    made = flex.block_mask(rows.until, rows.position[0], window)
    size = made.shape[-1]
    assert size % side == 0 and size - side < rows.ids.shape[1] <= size
    truth = create_block_mask(made.mask_mod, None, None, size, size, device="cpu", BLOCK_SIZE=side)
    if window is None:
        assert made.sparsity() == truth.sparsity()
        assert torch.equal(made.to_dense(), truth.to_dense())
        assert torch.equal(made.full_kv_num_blocks, truth.full_kv_num_blocks)
    else:  # what is near enough may lie in fewer tiles, never in others
        assert bool((made.to_dense() >= truth.to_dense()).all())


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["marked", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_attention_under_the_mask(seed: int, kind: str, window: int | None) -> None:
    rows = flex_rows(seed, kind)
    *inputs, _ = world(rows, torch.float64)
    with torch.no_grad():
        found, truth = in_blocks(rows, inputs, window), under_mask(rows, inputs, window)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


def test_a_model_scores_by_flex_what_it_scores_in_blocks() -> None:
    scorer = Scorer(model(torch.float64))
    with torch.no_grad():
        found = [scorer.tokens(r) for r in (flex_rows(2, "mixed"), row_of(2, 3.0, "mixed"))]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_masks_are_made_once_for_all_layers_of_a_kind() -> None:
    sight = Sight(flex_rows(0, "mixed"))
    assert sight.mask(None) is sight.mask(None)
    assert sight.mask(3) is not sight.mask(None)


def by_tiles(made: BlockMask, side: int) -> torch.Tensor:
    """bool [T,T] as kernels read it: whole tiles unmasked, partial ones masked, no others."""
    size = made.shape[-1]
    place = torch.arange(size)
    seen = made.mask_mod(torch.tensor(0), torch.tensor(0), place[:, None], place[None])
    dense = torch.zeros(size, size, dtype=torch.bool)
    for counts, columns, whole in (
        (made.kv_num_blocks, made.kv_indices, False),
        (made.full_kv_num_blocks, made.full_kv_indices, True),
    ):
        for q, count in enumerate(counts[0, 0].tolist()):
            for u in columns[0, 0, q, :count].tolist():
                tile = slice(q * side, (q + 1) * side), slice(u * side, (u + 1) * side)
                assert not dense[tile].any(), "a tile stands twice"
                dense[tile] = True if whole else seen[tile]
    return dense


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("side", [4, 16, 128])
@pytest.mark.parametrize("seed", range(4))
def test_tiles_and_their_masks_together_are_the_dense_mask(
    seed: int, side: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flex, "SIDE", side)
    rows = flex_rows(seed, "mixed")
    tokens, position = rows.ids.shape[1], rows.position[0]
    truth = visible(rows)[0]
    if window is not None:
        truth &= position[:, None] - position[None] < window
    made = by_tiles(Sight(rows).mask(window), side)
    assert torch.equal(made[:tokens, :tokens], truth)
    filled = made[tokens:]  # of tokens that fill a tile up: each sees something, itself
    assert bool(filled[:, tokens:].diagonal().all()) and not made[:tokens, tokens:].any()
