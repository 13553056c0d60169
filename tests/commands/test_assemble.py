"""Laws of the learning rate and of the plan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Phi3Config

from bvrank.commands.assemble import (
    check_positions,
    learning_rate,
    longrope_end,
    plan_of,
    texts_of,
)
from bvrank.commands.compose import composed, frozen
from bvrank.commands.sections import Scheduler
from bvrank.commands.settings import TrainSettings, train_settings
from bvrank.data.lists import Lists
from bvrank.data.pairs import Pairs
from bvrank.errors import DataError
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.schedule import Schedule
from tests.commands.fast import pair_rows, write
from tests.scoring.trees import pair_tree

SETTINGS: dict[str, Any] = frozen(composed("train", ["optimizer.lr=2.0"]))
Shape = Literal["cosine", "linear", "constant"]
SHAPES = st.sampled_from(["cosine", "linear", "constant"])


def asked(steps: int, shape: Shape, warmup: float) -> TrainSettings:
    words = {"steps": steps, "scheduler": {"shape": shape, "warmup": warmup}}
    return train_settings({**SETTINGS, **words})


@given(st.integers(1, 300), SHAPES, st.floats(0, 1))
def test_it_rises_to_the_peak_then_falls_and_is_never_zero(
    steps: int, shape: Shape, warmup: float
) -> None:
    rate = learning_rate(asked(steps, shape, warmup))
    rates = [rate(step) for step in range(1, steps + 1)]
    top = rates.index(max(rates))
    assert max(rates) == 2.0 and min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top + 1 == max(1, -(-round(warmup * steps, 9) // 1))


def test_closed_forms() -> None:
    linear = learning_rate(asked(10, "linear", 0.2))
    assert [linear(s) for s in (1, 2, 3, 10)] == pytest.approx([1.0, 2.0, 2 * 8 / 9, 2 / 9])
    cosine = learning_rate(asked(11, "cosine", 0.0))
    assert cosine(1) == 2.0 and cosine(11) < 0.05
    constant = learning_rate(asked(5, "constant", 0.4))
    assert [constant(s) for s in range(1, 6)] == [1.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.07), (10, 0.7), (100, 0.29)])
def test_a_share_of_the_steps_is_not_rounded_up_by_a_float(steps: int, warmup: float) -> None:
    rate = learning_rate(asked(steps, "linear", warmup))
    assert rate(round(steps * warmup)) == 2.0
    assert isinstance(asked(steps, "linear", warmup).scheduler, Scheduler)


def test_the_plan_follows_the_schedule_from_end_to_end() -> None:
    plan = plan_of(Schedule(BVPO(), {"alpha": (1.0, 0.0)}), asked(5, "constant", 0))
    assert [plan.fields(s)["alpha"] for s in range(1, 6)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert plan.objective(1).views == ("full",) and plan.objective(5).views == ("bare",)
    assert plan_of(Schedule(BVPO(), {"alpha": (1.0, 0.0)}), asked(1, "constant", 0)).fields(1) == {
        "alpha": 1.0
    }


def test_a_tokenizer_reads_every_text_of_a_source(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair_rows(2))
    texts = set(texts_of(Pairs(str(path))))
    assert {"0+1=?", "0 and 1", "1", "no idea", "2!", "4!"} <= texts


def test_a_source_whose_rows_are_all_refused_says_why_and_where(tmp_path: Path) -> None:
    """Before a tokenizer is trained on nothing."""
    path = write(tmp_path / "lists.jsonl", [{"prompt": "p", "candidates": [], "relevance": []}])
    with pytest.raises(DataError, match=r"no row is left .* lists\.jsonl:1: 'candidates' holds 0"):
        list(texts_of(Lists(str(path))))


def test_rows_end_where_longrope_turns_to_other_angles() -> None:
    """Its factors follow a batch's longest row: beyond, a row's figures depend on its mates."""
    tree = pair_tree(np.random.default_rng(0), prompt=5, answers=[3, 4])
    rows: Any = SimpleNamespace(train=[tree], held_out=[])

    def reaching(most: int, rope: dict[str, Any] | None) -> Any:
        end = (rope or {}).get("original_max_position_embeddings", most)
        config = Phi3Config(
            max_position_embeddings=most, original_max_position_embeddings=end,
            rope_parameters=rope, pad_token_id=0,
        )  # fmt: skip
        return SimpleNamespace(config=config)

    short, long = tree.longest - 1, tree.longest
    factors = {"rope_theta": 1e4, "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    for end, refused in ((short, True), (long, False)):
        rope = {"rope_type": "longrope", "original_max_position_embeddings": end, **factors}
        assert longrope_end(reaching(4096, rope).config) == end
        nested = SimpleNamespace(rope_parameters={"full_attention": rope, "sliding_attention": {}})
        assert longrope_end(nested) == end
        if refused:
            with pytest.raises(DataError, match=rf"longrope.*data\.max_length={end}\."):
                check_positions(rows, reaching(4096, rope))
        else:
            check_positions(rows, reaching(4096, rope))
    assert longrope_end(reaching(4096, None).config) is None
    with pytest.raises(DataError, match=rf"has {short} positions\. "):
        check_positions(rows, reaching(short, None))
