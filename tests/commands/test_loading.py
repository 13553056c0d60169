"""What several processes need is made once, by the one that starts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.commands import train
from bvrank.commands.loading import load, prepared
from bvrank.data.encoding import Encoder
from bvrank.errors import DataError
from tests.commands.fast import config, on_lists, on_pairs, write
from tests.sampling.saying import saying, usual


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the encoder was given."""
    given: list[int] = []
    real = Encoder.chunk

    def chunk(self: Encoder, rows: list[object]) -> object:
        given.append(len(rows))
        return real(self, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "chunk", chunk)
    return given


@pytest.mark.parametrize("make", [on_pairs, on_lists])
def test_ranks_find_the_rows_encoded(make: object, tmp_path: Path, encoded: list[int]) -> None:
    asked = train.request(make(tmp_path))  # type: ignore[operator]
    prepared(asked)
    assert sum(encoded) > 0
    encoded.clear()
    assert len(load(asked).rows.train) > 0
    assert encoded == []


def test_the_tiny_models_own_pairs_too(
    tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, usual)
    words = ("data.problems=6", "data.samples=2", "data.test_problems=4", "data.max_new_tokens=8")
    asked = train.request(config(tmp_path, "objective=bvpo", *words))
    prepared(asked)
    encoded.clear()
    assert len(load(asked).rows.train) > 0
    assert encoded == []


def test_a_mistake_in_the_rows_is_told_before_a_rank_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bvrank.commands.launch.launch", lambda *_: pytest.fail("ranks started"))
    write(tmp_path / "pairs.jsonl", [{"prompt": "p", "chosen": "a"}])
    words = ("engine=zero1", "engine.device=cpu", "launcher.processes=2")
    with pytest.raises(DataError, match=r"rejected"):
        train.main(on_pairs(tmp_path, *words))
    assert not (tmp_path / "outputs").exists()
