"""A checkpoint is whole or it is not there, and what is read is what was written."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.errors import RunError
from bvrank.objectives.dpo import DPO
from bvrank.ranks import ALONE
from tests.small import small

STATE = TrainState(7, 0.25, 3, checkpoint.rng_state(), {"alpha": 0.1 + 0.2})


@dataclass
class Two:
    """The part of an engine that a checkpoint needs: two files."""

    text: str = "weights"
    error: BaseException | None = None
    loaded: list[str] = field(default_factory=list)

    ranks = ALONE

    def save(self, folder: Path) -> list[Path]:
        (folder / "policy").mkdir()
        (folder / "policy" / "model.bin").write_text(self.text)
        if self.error is not None:
            raise self.error
        (folder / "engine.bin").write_text("moments")
        return [folder / "policy" / "model.bin", folder / "engine.bin"]

    def load(self, folder: Path) -> None:
        self.loaded.append((folder / "policy" / "model.bin").read_text())


def save(folder: Path, step: int = 7, **options: Any) -> Path:
    return checkpoint.save(folder, Two(**options), TrainState(step))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    torch.rand(3)
    path = checkpoint.save(tmp_path, Two(), STATE)  # type: ignore[arg-type]
    engine = Two()
    assert checkpoint.load(path, engine) == STATE and engine.loaded == ["weights"]  # type: ignore[arg-type]
    assert path.name == "step-000007" and names(tmp_path) == [path.name]


def test_a_real_engine_comes_back_bit_equal(tmp_path: Path) -> None:
    run = small(DPO(beta=0.5), tmp_path / "store", dropout=0.1).go(2)
    path = checkpoint.save(tmp_path, run.engine, run.state)
    other = small(DPO(beta=0.5), tmp_path / "store", dropout=0.1)
    assert not torch.equal(other.weights(), run.weights())
    assert checkpoint.load(path, other.engine) == run.state
    assert torch.equal(other.weights(), run.weights())
    assert all(map(torch.equal, other.moments(), run.moments())) and other.moments()


def test_the_random_state_goes_on_where_it_was(tmp_path: Path) -> None:
    state = TrainState(1, rng=checkpoint.rng_state())
    path = checkpoint.save(tmp_path, Two(), state)  # type: ignore[arg-type]
    expected = torch.rand(5)
    torch.manual_seed(99)
    checkpoint.load(path, Two())  # type: ignore[arg-type]
    assert torch.equal(torch.rand(5), expected)


def test_a_device_that_is_gone_is_passed_over() -> None:
    if not torch.cuda.is_available():
        checkpoint.set_rng({**checkpoint.rng_state(), "cuda:0": "00" * 16})


def _state(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        whole = json.loads((folder / "state.json").read_text())
        change(whole)
        (folder / "state.json").write_text(json.dumps(whole))

    return damage


@pytest.mark.parametrize(("damage", "found"), [
    (lambda p: (p / "engine.bin").unlink(), "engine.bin is missing"),
    (lambda p: (p / "engine.bin").write_text("momentS"), "engine.bin is not what was written"),
    (lambda p: (p / "policy/model.bin").write_text(""), "policy/model.bin is not what was written"),
    (lambda p: (p / "state.json").unlink(), "state.json is missing or torn"),
    (lambda p: (p / "state.json").write_text('{"state": {'), "state.json is missing or torn"),
    (lambda p: (p / "state.json").write_text("[]"), "state.json is missing or torn"),
    (lambda p: (p / "state.json").write_bytes(b"\xff\xfe"), "state.json is missing or torn"),
    (_state(lambda w: w["state"].update(step=8)), "state.json is not what was written"),
    (_state(lambda w: w["files"].pop("engine.bin")), "state.json is not what was written"),
])  # fmt: skip
def test_damage_is_found_by_name(
    damage: Callable[[Path], None], found: str, tmp_path: Path
) -> None:
    older, newer = save(tmp_path, 6), save(tmp_path, 7)
    assert checkpoint.damage(newer) is None
    damage(newer)
    assert checkpoint.damage(newer) == found
    with pytest.raises(RunError, match=found) as caught:
        checkpoint.load(newer, Two())  # type: ignore[arg-type]
    assert caught.value.where == str(newer)
    assert checkpoint.newest_whole(tmp_path) == (older, [f"step-000007: {found}"])


@pytest.mark.parametrize("change", [lambda s: s.pop("best"), lambda s: s.update(colour=1)])
def test_a_state_of_another_version_is_refused(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    path = save(tmp_path)

    def reseal(whole: dict[str, Any]) -> None:
        change(whole["state"])
        whole["sha256"] = checkpoint._sealed(whole["state"], whole["files"])

    _state(reseal)(path)
    with pytest.raises(RunError, match=r"another version, see (best|colour)"):
        checkpoint.load(path, Two())  # type: ignore[arg-type]


def test_the_newest_is_the_highest_step_even_past_a_million(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 9):
        save(tmp_path, step)
    (tmp_path / "step-final").mkdir()
    assert checkpoint.newest_whole(tmp_path) == (tmp_path / "step-1000000", [])
    checkpoint.prune(tmp_path, 1, None)
    assert names(tmp_path) == ["step-1000000", "step-final"]


def test_without_a_whole_one_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest_whole(tmp_path / "nowhere") == (None, [])
    (tmp_path / "step-000001").mkdir()
    assert checkpoint.newest_whole(tmp_path)[0] is None


@pytest.mark.parametrize(("keep", "best", "left"), [
    (1, None, [5]), (2, None, [4, 5]), (2, 2, [2, 4, 5]), (2, 5, [4, 5]), (9, 1, [1, 2, 3, 4, 5]),
    (0, 2, [2]),
])  # fmt: skip
def test_pruning_keeps_the_newest_and_the_best(
    keep: int, best: int | None, left: list[int], tmp_path: Path
) -> None:
    for step in range(1, 6):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, keep, best)
    assert names(tmp_path) == [f"step-{s:06d}" for s in left]


@pytest.mark.parametrize("error", [
    OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed"), OSError(),
])  # fmt: skip
def test_a_save_that_fails_says_so_and_leaves_the_older_ones(
    error: Exception, tmp_path: Path
) -> None:
    older = save(tmp_path, 6)
    with pytest.raises(RunError, match=r"could not be written \(.+\).*resume=true"):
        save(tmp_path, 7, error=error)
    assert names(tmp_path) == [older.name] and checkpoint.damage(older) is None


def test_an_interrupt_during_a_save_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, error=KeyboardInterrupt())
    assert names(tmp_path) == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 3_000, 30_000])
def test_a_full_disk_is_told_whichever_library_meets_it(size: int, tmp_path: Path) -> None:
    """In the model's configuration (open), its weights (safetensors), the moments (torch.save)."""
    run = small(DPO(), tmp_path / "store").go(1)
    folder = tmp_path / "checkpoints"
    with files_of_at_most(size), pytest.raises(RunError, match="could not be written"):
        checkpoint.save(folder, run.engine, run.state)
    assert names(folder) == []
    assert checkpoint.damage(checkpoint.save(folder, run.engine, run.state)) is None


def test_a_place_where_no_folder_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        save(tmp_path / "file")


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, text="old")
    path = save(tmp_path, text="new")
    assert (path / "policy/model.bin").read_text() == "new" and names(tmp_path) == [path.name]


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-000003.part").mkdir()
    (tmp_path / ".step-000003.part" / "half").write_text("")
    path = save(tmp_path)
    assert names(tmp_path) == [path.name]


def test_state_is_json_with_a_hash_for_every_file(tmp_path: Path) -> None:
    path = save(tmp_path)
    whole = json.loads((path / "state.json").read_text())
    assert whole["state"] == asdict(TrainState(7)) | {"rng": [{}]}  # one rank's
    assert sorted(whole["files"]) == ["engine.bin", "policy/model.bin"]
