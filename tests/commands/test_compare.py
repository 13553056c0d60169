from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bvrank.commands.compare import differing_figures, differing_files


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal folders as a checkpoint has them."""
    for name in ("a", "b"):
        (tmp_path / name / "policy").mkdir(parents=True)
        (tmp_path / name / "engine").mkdir()
        torch.manual_seed(0)
        save_file({"w": torch.randn(3, 2), "v": torch.ones(2)},
                  tmp_path / name / "policy" / "model.safetensors")  # fmt: skip
        torch.save({"state": {0: {"step": torch.tensor(4.0), "m": [torch.ones(2)]}}, "lr": 0.1},
                   tmp_path / name / "engine" / "optimizer.pt")  # fmt: skip
        (tmp_path / name / "state.json").write_text(json.dumps({"state": {"step": 4}}))
        (tmp_path / name / "odd.bin").write_bytes(b"abc")
    return tmp_path / "a", tmp_path / "b"


def test_equal_folders_differ_in_nothing(both: tuple[Path, Path]) -> None:
    assert differing_files(*both) == []


def test_tensors_are_named_with_their_largest_difference(both: tuple[Path, Path]) -> None:
    torch.manual_seed(0)
    other = {"w": torch.randn(3, 2), "v": torch.tensor([1.0, 1.5])}
    save_file(other, both[1] / "policy" / "model.safetensors")
    torch.save({"state": {0: {"step": torch.tensor(3.0), "m": [torch.ones(3)]}}, "lr": 0.2},
               both[1] / "engine" / "optimizer.pt")  # fmt: skip
    found = dict(differing_files(*both))
    assert found["policy/model.safetensors"] == "v by at most 0.5"
    told = found["engine/optimizer.pt"]
    assert "lr 0.1 against 0.2" in told and "state.0.step by at most 1" in told
    assert "state.0.m[0] torch.float32 (2,) against torch.float32 (3,)" in told


def test_a_hair_of_a_number_is_enough(both: tuple[Path, Path]) -> None:
    torch.manual_seed(0)
    w = torch.randn(3, 2)
    w[0, 0] = torch.nextafter(w[0, 0], torch.tensor(9.0))
    save_file({"w": w, "v": torch.ones(2)}, both[1] / "policy" / "model.safetensors")
    assert [name for name, _ in differing_files(*both)] == ["policy/model.safetensors"]


def test_json_bytes_and_files_that_one_side_lacks(both: tuple[Path, Path]) -> None:
    (both[1] / "state.json").write_text(json.dumps({"state": {"step": 3, "best": None}}))
    (both[1] / "odd.bin").write_bytes(b"abd")
    (both[1] / "more").write_text("")
    (both[1] / "engine" / "optimizer.pt").unlink()
    assert dict(differing_files(*both)) == {
        "state.json": "state.step 4 against 3", "odd.bin": "its bytes differ",
        "more": "the resumed run alone wrote it",
        "engine/optimizer.pt": "the resumed run did not write it",
    }  # fmt: skip


def test_figures_but_for_speed() -> None:
    one = [{"step": 3, "loss": 0.1, "speed/x": 1.0}, {"step": 4, "loss": 0.2}]
    assert differing_figures(one, [{**r, "speed/x": 2.0} for r in one]) == []
    other = [{"step": 3, "loss": 0.1 + 1e-18}, {"step": 4, "loss": 0.2000000001, "lr": 1}]
    assert differing_figures(one, other) == [
        ("step 4, loss", "0.2 against 0.2000000001"), ("step 4, lr", "None against 1"),
    ]  # fmt: skip
    assert differing_figures(one, one[:1]) == [
        ("step 4, loss", "0.2 against None"), ("step 4, step", "4 against None")
    ]  # fmt: skip
    assert (
        differing_figures([{"step": 1, "x": float("nan")}], [{"step": 1, "x": float("nan")}]) == []
    )
