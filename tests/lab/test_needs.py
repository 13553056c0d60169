"""What does not fit into memory is refused before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bvrank.errors import ConfigError
from bvrank.lab import needs
from bvrank.lab.needs import GB, available, check_memory, needed
from bvrank.lab.options import Sampling, Settings, Training
from bvrank.lab.shape import STRETCH, TOGETHER, Shape

SHAPE = Shape(alphabet=4, length=3, prompts=4, hidden_size=8, layers=2, heads=2, spread=2.0)
TRAIN = Training(seeds=20, steps=15, every=5, rate=0.25, adamw=0.003, rules=["sgd"], traces=4)
USUAL = Settings(0, SHAPE, 1.0, "fresh", 3, [0, 0.1], "descent", 4, 2,
                 Sampling([1, 2, 32], 2048), TRAIN)  # fmt: skip
LARGE = replace(USUAL, shape=replace(SHAPE, length=5, prompts=16, hidden_size=32),
                train=replace(TRAIN, seeds=0))  # fmt: skip


def test_the_usual_lab_fits_anywhere_and_a_large_one_is_refused_with_what_it_needs() -> None:
    check_memory(USUAL, 3 * GB)
    with pytest.raises(ConfigError, match=r"needs about \d+\.\d GB of memory, and 4\.0 are free"
                       ) as found:  # fmt: skip
        check_memory(LARGE, 4 * GB)
    assert found.value.where == "shape"
    assert f"32,768 candidates by {LARGE.shape.weights:,} weights" in str(found.value)


def test_it_needs_the_matrix_of_gradients_in_every_thread() -> None:
    shape = LARGE.shape
    matrix = 8 * 2 * shape.prompts * shape.traces * shape.weights
    alone = replace(LARGE, threads=1)
    assert matrix < needed(alone) < 2 * matrix
    assert needed(LARGE) - needs.BASE == pytest.approx(2 * (needed(alone) - needs.BASE))
    assert needed(replace(LARGE, threads=50)) == needed(replace(LARGE, threads=3)), "three worlds"


def test_training_and_draws_need_some_too() -> None:
    trained = replace(LARGE, train=TRAIN)
    assert needed(trained) > needed(LARGE)
    with pytest.raises(ConfigError, match=r"or train\.seeds=0"):
        check_memory(trained, needed(LARGE))
    many = replace(USUAL, sampling=Sampling([1, 2], 2**20))
    assert needed(many) > needed(USUAL) + 8 * 2**20 * 2 * SHAPE.traces


def test_worlds_train_together_as_long_as_they_are_small() -> None:
    assert SHAPE.stretch == STRETCH
    assert LARGE.shape.stretch == 1
    assert SHAPE.stretch * SHAPE.curved <= TOGETHER


def test_what_is_free_is_the_least_that_anybody_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "GROUPS", ())
    machine = available()
    assert machine > 0
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(needs, "GROUPS", (tmp_path,))
    assert available() == 600
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 80\nactive_file 20\n")
    assert available() == 680
    (tmp_path / "memory.max").write_text("max\n")
    assert available() > 600
