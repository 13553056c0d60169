"""What the arms share: weights drawn by the seed, and rows of whole batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bvrank.bench import options
from bvrank.bench.material import (
    check_shape,
    model,
    random_rows,
    real_rows,
    row_of,
    saved_model,
    saved_rows,
)
from bvrank.bench.own import common, loaded, tree_of
from bvrank.errors import ConfigError, DataError
from bvrank.models.tiny import tiny_tokenizer
from bvrank.records import BARE, FULL
from tests.bench.shape import SHAPE
from tests.commands.fast import write
from tests.commands.planted import clean_pairs
from tests.scoring.trees import pair_tree


def test_weights_are_drawn_by_the_seed_and_come_back_from_their_folder(tmp_path: Path) -> None:
    one, other = (model(SHAPE, seed).lm_head.weight for seed in (0, 1))
    assert torch.equal(one, model(SHAPE, 0).lm_head.weight) and not torch.equal(one, other)
    folder = saved_model({**SHAPE, "vocab_size": 300}, 0, tiny_tokenizer(), tmp_path / "model")
    again = model({**SHAPE, "vocab_size": 300}, 0)
    found = loaded(folder)
    assert found.dtype == torch.float32 and found.config.pad_token_id is not None
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_shape_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match="shape: makes no model") as caught:
        model({**SHAPE, "hidden_size": "no"}, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{}, {"head_dim": 6}, {"rope_parameters": {
    "rope_type": "default", "rope_theta": 10000.0}}, {"num_key_value_heads": 2}])  # fmt: skip
def test_a_shape_that_makes_a_model_is_let_through(change: dict[str, object]) -> None:
    check_shape({**SHAPE, **change})
    check_shape({"vocab_size": 61})  # the others as Qwen3 has them


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_heads": 2}, r"^shape\.num_heads: there is no such key\. Did you mean"),
        ({"num_attention_heads": 3, "num_key_value_heads": 2},
         r"^shape\.num_attention_heads: must be a multiple of num_key_value_heads=2, got 3"),
        ({"head_dim": 7}, "^shape: makes no model"),
        ({"num_key_value_heads": 0}, r"^shape\.num_key_value_heads: must be at least 1, got 0"),
        ({"hidden_size": -2}, r"^shape\.hidden_size: must be at least 1, got -2"),
        ({"hidden_act": "none"}, "^shape: makes no model"),
        ({"num_hidden_layers": "two"}, "^shape: makes no model"),
    ],
)  # fmt: skip
def test_a_shape_that_makes_none_is_told_before_anything_is_made(
    change: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_shape({**SHAPE, **change})
    assert "\n" not in str(caught.value)


def test_pairs_without_traces_are_no_measurement_of_two_views(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs = clean_pairs(9)
    plain = [{**p, "chosen": p["chosen"]["answer"], "rejected": p["rejected"]["answer"]}
             for p in pairs]  # fmt: skip
    path = str(write(tmp_path / "plain.jsonl", plain))
    given = (600, (FULL, BARE), 200, 0, 9, 2, tmp_path / "store")
    with pytest.raises(DataError, match="none of its 9 pairs has a trace") as caught:
        real_rows(path, *given)
    assert caught.value.where == path
    path = str(write(tmp_path / "some.jsonl", [*pairs[:4], *plain[4:]]))
    rows, _ = real_rows(path, *given)
    assert len(rows) == 4 and all(row[FULL] != row[BARE] for row in rows)
    assert "bench: left out: 5 of 9 pairs, without a trace\n" in capfd.readouterr().err
    rows, _ = real_rows(path, 600, (FULL,), 200, 0, 9, 2, tmp_path / "store")
    assert len(rows) == 8, "one view needs no trace"


def test_random_rows_have_one_size_and_are_drawn_by_the_seed() -> None:
    rows = random_rows(3, 61, 7, 4, 0)
    assert [[len(ids) for ids in row[FULL]] for row in rows] == [[7, 4, 4]] * 3
    assert rows == random_rows(3, 61, 7, 4, 0) != random_rows(3, 61, 7, 4, 1)


def test_a_row_and_its_tree_hold_the_same_tokens_and_share_what_prompts_share() -> None:
    tree = pair_tree(np.random.default_rng(0), prompt=7, answers=[4, 2])
    row = row_of(tree, (FULL, BARE))
    again = tree_of(row)
    assert row_of(again, (FULL, BARE)) == row
    shared = len(again.segments[0].ids)
    assert shared == common([row[FULL][0], row[BARE][0]]) >= 7
    assert sum(len(s.ids) for s in again.segments) == sum(map(len, row[FULL] + row[BARE])) - shared


def test_prompts_that_share_nothing_make_two_trees_in_one() -> None:
    tree = tree_of({FULL: [[1, 2], [3], [4]], BARE: [[5], [6], [7]]})
    assert [s.parent for s in tree.segments] == [-1, 0, 0, -1, 3, 3]
    alone = tree_of({FULL: [[1, 2], [3], [4]]})
    assert [s.ids.tolist() for s in alone.segments] == [[1, 2], [3], [4]]
    assert common([[1, 2], [1]]) == 1 and common([[1], [2]]) == 0


def test_rows_of_a_file_are_whole_batches_of_all_views(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", clean_pairs(23))
    path, store = str(tmp_path / "pairs.jsonl"), tmp_path / "store"
    views = (FULL, BARE)

    def rows(count: int, batch: int, seed: int = 0) -> list[dict[str, list[list[int]]]]:
        return real_rows(path, 600, views, 512, seed, count, batch, store)[0]

    found = rows(10, 4)
    assert len(found) == 8 and len(rows(100, 4)) == 20
    assert found == rows(8, 4) != rows(8, 4, seed=1)
    for row in found:
        (full, think, _), (bare, answer, _) = row[FULL], row[BARE]
        assert common([full, bare]) > 0 and len(think) > len(answer)
    with pytest.raises(DataError, match=r"pairs\.jsonl: has 23 pairs .*, a step takes 24"):
        rows(100, 24)
    kept = json.loads(Path(saved_rows(found, tmp_path)).read_text())
    assert kept == found


def test_a_vocabulary_holds_every_token_of_the_tokenizer_beside_random_rows() -> None:
    assert len(tiny_tokenizer()) == options.TOKENS
